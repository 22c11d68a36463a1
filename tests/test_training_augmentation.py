"""Changes of patches leave possible images: finite, of their shape, dark where air is."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from training_scene import head

from medldm.training import augmentation
from medldm.training.config import AugmentationOptions
from medldm.training.generic_images import dead_leaves, generic_images, random_field, stripes

SIZE = 48
ALWAYS = AugmentationOptions(gamma=1.0, curve=1.0, invert=1.0)
Change = Callable[[Tensor, np.random.Generator], Tensor]
CHANGES: dict[str, Change] = {
    "mirrored": augmentation.mirrored,
    "turned": augmentation.turned,
    "blurred": augmentation.blurred,
    "other contrast": lambda patch, generator: augmentation.with_other_contrast(patch, ALWAYS, generator)[0],
    "bias field": augmentation.with_bias_field,
    "rim": augmentation.with_rim,
    "background": augmentation.with_background,
}


def _slice(seed: int = 0) -> Tensor:
    """(1, SIZE, SIZE): an object in the middle, air around it."""
    image = torch.zeros(1, SIZE, SIZE)
    image[0, 8:40, 8:40] = torch.from_numpy(head(seed, (3, 32, 32))[1])
    return image


def _seeds(count: int = 12) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("shape", [(1, 24, 24), (3, 24, 24), (1, 12, 12, 12)])
def test_shape_type_and_finiteness_are_kept_and_the_input_too(name: str, shape: tuple[int, ...]) -> None:
    patch = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 1.3
    patch[..., :4, :] = 0
    before = patch.clone()
    for generator in _seeds():
        changed = CHANGES[name](patch, generator)
        assert changed.shape == patch.shape and changed.dtype == torch.float32
        assert bool(torch.isfinite(changed).all()) and float(changed.min()) > -0.02
        assert torch.equal(patch, before)


@pytest.mark.parametrize("name", CHANGES)
def test_equal_draws_give_equal_patches(name: str) -> None:
    patch = _slice()
    one, two = (CHANGES[name](patch, np.random.default_rng(4)) for _ in range(2))
    assert torch.equal(one, two)
    assert any(not torch.equal(CHANGES[name](patch, generator), patch) for generator in _seeds())


@pytest.mark.parametrize("name", ["other contrast", "bias field"])
def test_air_stays_dark_to_the_last_digit(name: str) -> None:
    patch = _slice()
    for generator in _seeds():
        assert not CHANGES[name](patch, generator)[patch == 0].any()


def test_background_noise_is_weak_and_keeps_the_object() -> None:
    patch = _slice()
    for generator in _seeds():
        noisy = augmentation.with_background(patch, generator)
        assert 0.003 < float(noisy[patch == 0].std()) < 0.03
        assert float(noisy[patch == 0].min()) >= 0
        assert torch.allclose(noisy[patch > 0.08], patch[patch > 0.08], atol=1e-7)


def test_a_rim_lies_outside_the_object_with_a_gap() -> None:
    patch = torch.zeros(1, SIZE, SIZE)
    patch[0, 16:32, 16:32] = 0.7
    distance = torch.tensor([[max(16 - y, y - 31, 16 - x, x - 31, 0) for x in range(SIZE)] for y in range(SIZE)])
    for generator in _seeds():
        added = (augmentation.with_rim(patch, generator) - patch)[0]
        assert not added[distance <= 2].any() and not added[distance > 15].any()
        assert 0.3 < float(added[added > 0].mean()) < 1.3
    for whole in (torch.zeros(1, 20, 20), torch.ones(1, 20, 20)):
        assert torch.equal(augmentation.with_rim(whole, np.random.default_rng(0)), whole)


@pytest.mark.parametrize(("shape", "axes"), [((1, 7, 9), 2), ((2, 7, 9), 3), ((1, 4, 5, 6), 1)])
def test_mirroring_twice_is_nothing(shape: tuple[int, ...], axes: int) -> None:
    """Both axes of a slice, the order of a slab's slices too, and of a volume left and right alone."""
    patch = torch.rand(shape)
    found = set()
    for seed in range(30):
        once = augmentation.mirrored(patch, np.random.default_rng(seed))
        assert torch.equal(augmentation.mirrored(once, np.random.default_rng(seed)), patch)
        found.add(float(once.flatten()[0]))
    assert len(found) == 2**axes


def test_turning_is_by_all_right_angles_but_none() -> None:
    patch = torch.arange(4.0).reshape(1, 2, 2)
    turns = {tuple(augmentation.turned(patch, generator).flatten().tolist()) for generator in _seeds(40)}
    assert turns == {(1.0, 3.0, 0.0, 2.0), (3.0, 2.0, 1.0, 0.0), (2.0, 0.0, 3.0, 1.0)}


@pytest.mark.parametrize(("n", "size"), [(20, 12), (21, 13), (12, 12)])
def test_the_identity_gives_the_centre_exactly(n: int, size: int) -> None:
    region = torch.rand(2, n, n)
    first = (n - size) // 2
    centre = region[:, first : first + size, first : first + size]
    assert torch.allclose(augmentation.resampled(region, torch.eye(2), size), centre, atol=2e-6)


def test_a_matrix_maps_output_samples_to_input_samples() -> None:
    """A linear image, row + 10 column: torch's cubic kernel (a = -0.75) is off by 0.05 samples at most."""
    matrix = torch.tensor([[0.9, 0.3], [-0.2, 1.2]])
    places = torch.arange(24.0) - 11.5
    region = (places[:, None] + 10 * places[None, :])[None]
    offsets = torch.arange(8.0) - 3.5
    row, column = torch.meshgrid(offsets, offsets, indexing="ij")
    expected = (0.9 * row + 0.3 * column) + 10 * (-0.2 * row + 1.2 * column)
    assert torch.allclose(augmentation.resampled(region, matrix, 8)[0], expected, atol=0.05 * 11)


def test_rotation_and_zoom_keep_their_limits() -> None:
    options = AugmentationOptions(degrees=15, zoom=1.4)
    limit = 1.4 * 1.1
    for generator in _seeds(200):
        matrix = augmentation.resample_matrix(options, generator)
        singular = torch.linalg.svdvals(matrix)
        assert 1 / limit - 1e-4 < float(singular.min()) <= float(singular.max()) < limit + 1e-4
        assert 1 / 1.4**2 - 1e-4 < float(torch.linalg.det(matrix)) < 1.4**2 + 1e-4
        angle = math.degrees(math.atan2(float(matrix[1, 0]), float(matrix[0, 0])))
        assert abs(angle) < 15 + 1e-3


def test_blur_keeps_the_mean_and_removes_detail() -> None:
    flat = torch.full((1, 20, 20), 0.4)
    noise = torch.randn(1, 40, 40, generator=torch.Generator().manual_seed(0))
    for generator in _seeds():
        state = generator.bit_generator.state
        assert torch.allclose(augmentation.blurred(flat, generator), flat, atol=1e-6)
        generator.bit_generator.state = state
        assert float(augmentation.blurred(noise, generator).std()) < 0.9 * float(noise.std())


def test_only_changes_that_hide_the_contrast_are_told_as_such() -> None:
    patch = _slice()
    gamma = AugmentationOptions(gamma=1.0, curve=0.0, invert=0.0)
    curve = AugmentationOptions(gamma=0.0, curve=1.0, invert=0.0)
    none = AugmentationOptions(gamma=0.0, curve=0.0, invert=0.0)
    for generator in _seeds():
        assert not augmentation.with_other_contrast(patch, gamma, generator)[1]
        assert augmentation.with_other_contrast(patch, curve, generator)[1]
        same, changed = augmentation.with_other_contrast(patch, none, generator)
        assert not changed and torch.equal(same, patch)


def test_inversion_turns_bright_into_dark_within_the_object() -> None:
    options = AugmentationOptions(gamma=0.0, curve=0.0, invert=1.0)
    patch = torch.tensor([0.0, 0.2, 0.5, 1.0, 1.5]).reshape(1, 1, 5)
    inverted, changed = augmentation.with_other_contrast(patch, options, np.random.default_rng(0))
    assert changed and torch.allclose(inverted.flatten(), torch.tensor([0.0, 0.85, 0.55, 0.05, 0.0]), atol=1e-6)


@pytest.mark.parametrize("maker", [dead_leaves, random_field, stripes])
def test_generic_images_lie_between_black_and_white(maker: Callable[[np.random.Generator, int], Tensor]) -> None:
    for generator in _seeds(4):
        image = maker(generator, 64)
        assert image.shape == (64, 64) and image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1 and image.std() > 1e-3


def test_generic_images_are_reproducible() -> None:
    one, two, other = (generic_images(np.random.default_rng(seed), 6, 48) for seed in (1, 1, 2))
    assert one.shape == (6, 48, 48) and one.dtype == torch.float16
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert len({float(image.float().sum()) for image in one}) == 6
