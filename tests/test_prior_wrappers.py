"""Priors of slices, slabs, volumes and latents, on Gaussians whose posterior mean is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from wrapper_scene import (
    COLUMNS,
    DEPTH,
    MEAN,
    ROWS,
    SIGMA,
    STD,
    column,
    convolution,
    gaussian_denoiser,
    latent_prior,
    normal,
    pixel_prior,
    random_phase,
    state_of,
)

from medldm.inference import LatentPrior, Mirrored, PhaseFrozen, PixelPrior, SlabPrior, SlicewisePrior, Turned
from medldm.inference.turned import stacked_along
from medldm.testing.closed_form import OrthonormalAutoencoder, gaussian_mean


def test_pixel_prior_gives_the_posterior_mean_of_a_position_dependent_gaussian() -> None:
    # Without padding, so that the mean may differ from voxel to voxel.
    mean = normal(DEPTH, ROWS, COLUMNS, seed=4)
    prior = PixelPrior(gaussian_denoiser(mean, 0.2), (DEPTH, ROWS, COLUMNS))
    x = state_of(prior)
    expected = gaussian_mean(x, column(SIGMA, x), mean, 0.2)
    torch.testing.assert_close(prior.denoise(x, SIGMA), expected, rtol=0, atol=1e-9)


def test_slicewise_and_slab_priors_give_the_posterior_mean_of_independent_slices() -> None:
    x = normal(2, DEPTH, ROWS, COLUMNS)
    expected = gaussian_mean(x, column(SIGMA, x), MEAN, STD)
    slicewise = SlicewisePrior(pixel_prior(gaussian_denoiser()), DEPTH, slices_at_once=2)
    torch.testing.assert_close(slicewise.denoise(x, SIGMA), expected, rtol=0, atol=1e-9)
    for thickness in (3, 4, 5):
        for seed in range(4):
            slab = SlabPrior(pixel_prior(gaussian_denoiser(), channels=thickness), DEPTH, slabs_at_once=1, seed=seed)
            torch.testing.assert_close(slab.denoise(x, SIGMA), expected, rtol=0, atol=1e-9)


def test_a_slice_is_told_the_noise_of_its_own_sample() -> None:
    prior = SlicewisePrior(pixel_prior(), DEPTH, slices_at_once=4)
    x = state_of(prior)
    expected = torch.stack(
        [torch.stack([prior.inner.denoise(z[None], s[None])[0] for z in v]) for v, s in zip(x, SIGMA, strict=True)]
    )
    torch.testing.assert_close(prior.denoise(x, SIGMA), expected, rtol=0, atol=1e-12)


def test_the_latent_of_an_orthonormal_autoencoder_is_exact() -> None:
    scale, shift = 2.5, 0.1
    prior = latent_prior(scale=scale, shift=shift)
    assert (ROWS, COLUMNS) == (6, 7)
    assert prior.space.shape == (4, 3, 4), "seven columns become eight, and these four"
    image = normal(2, ROWS, COLUMNS)
    state = prior.encode(image)
    torch.testing.assert_close(prior.decode(state), image, rtol=0, atol=1e-6)
    # State = scale (Q image - shift), from the mean alone.
    mean = prior.autoencoder.moments(prior._padding.pad(image[:, None]))[0]
    torch.testing.assert_close(state, scale * (mean - shift), rtol=0, atol=1e-12)
    assert torch.equal(state, prior.encode(image)), "never sampled"


def test_a_latent_prior_gives_the_posterior_mean_of_the_image() -> None:
    # Image N(m, s^2) -> state scale (Q image - shift): white of std scale s; noise sigma on the state is sigma / scale
    # on the image.
    scale, shift, mean, std = 2.5, 0.1, 0.3, 0.5
    autoencoder = OrthonormalAutoencoder(2, 2)
    shape = (8, 6)
    image_mean = torch.full((1, 1, *shape), mean, dtype=torch.float64)
    state_mean = scale * (autoencoder.moments(image_mean)[0][0] - shift)
    prior = LatentPrior(gaussian_denoiser(state_mean, scale * std), autoencoder, shape, scale=scale, shift=shift)
    noisy = normal(2, *shape)
    result = prior.decode(prior.denoise(prior.encode(noisy), SIGMA))
    expected = gaussian_mean(noisy, column(SIGMA, noisy) / scale, mean, std)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_the_card_figures_of_a_latent_reach_the_solver() -> None:
    prior = PhaseFrozen(SlicewisePrior(latent_prior(gain=0.8, error=0.02), DEPTH), random_phase())
    assert (prior.gain, prior.error, prior.latent) == (0.8, 0.02, True)
    pixel = Turned(SlicewisePrior(pixel_prior(), DEPTH), stacked_along(1))
    assert (pixel.gain, pixel.error, pixel.latent) == (1.0, 0.0, False)


@pytest.mark.parametrize("stack", [0, 1, 2])
def test_turned_slices_are_those_of_the_other_plane(stack: int) -> None:
    inner = SlicewisePrior(pixel_prior(), DEPTH)
    prior = Turned(inner, stacked_along(stack))
    assert prior.space.shape == {0: (5, 6, 7), 1: (6, 5, 7), 2: (6, 7, 5)}[stack]
    x = state_of(prior)
    slices = [inner.inner.denoise(x.select(1 + stack, i), SIGMA) for i in range(DEPTH)]
    torch.testing.assert_close(prior.denoise(x, SIGMA), torch.stack(slices, 1 + stack), rtol=0, atol=1e-12)
    latent = Turned(SlicewisePrior(latent_prior(), DEPTH), stacked_along(stack))
    image = normal(2, *latent.image.shape)
    torch.testing.assert_close(latent.decode(latent.encode(image)), image, rtol=0, atol=1e-6)


def test_what_is_told_reaches_the_network() -> None:
    x = normal(2, ROWS, COLUMNS)
    out = convolution().parametrization.out(SIGMA).reshape(-1, 1, 1)

    def prior(condition: Tensor | None) -> PixelPrior:
        return PixelPrior(convolution(), (ROWS, COLUMNS), condition=condition, multiple=4)

    silent = prior(None).denoise(x, SIGMA)
    told = prior(torch.tensor([0.5, 0.25])).denoise(x, SIGMA)
    torch.testing.assert_close(told - silent, (0.75 * out).expand_as(x), rtol=0, atol=1e-12)
    each = prior(torch.tensor([[1.0], [3.0]])).denoise(x, SIGMA)
    torch.testing.assert_close(each - silent, (torch.tensor([1.0, 3.0]).reshape(2, 1, 1) * out).expand_as(x))
    with pytest.raises(ValueError, match="2 images"):
        prior(torch.tensor([[1.0], [3.0]])).denoise(x[:1], SIGMA[:1])


def test_over_the_noise_levels_an_image_is_seen_mirrored_in_every_way() -> None:
    inner = SlicewisePrior(pixel_prior(), DEPTH)
    prior = Mirrored(inner, (-2, -1), seed=2)
    x = normal(1, DEPTH, ROWS, COLUMNS)
    seen = set()
    for level in torch.linspace(0.1, 3, 30, dtype=torch.float64):
        axes = prior.mirrored_along(float(level))
        sigma = level.reshape(1)
        torch.testing.assert_close(prior.denoise(x, sigma), inner.denoise(x.flip(axes), sigma).flip(axes))
        seen.add(tuple(axes))
    assert seen == {(), (-2,), (-1,), (-2, -1)}
    assert prior.mirrored_along(0.5) == Mirrored(inner, (-2, -1), seed=2).mirrored_along(0.5)
    assert [Mirrored(inner, (-1,), seed=s).mirrored_along(0.5) for s in range(9)] != [[]] * 9


def test_a_posterior_mean_that_turns_with_the_image_is_not_changed_by_mirroring() -> None:
    inner = SlicewisePrior(pixel_prior(gaussian_denoiser()), DEPTH)
    x = MEAN + normal(2, DEPTH, ROWS, COLUMNS)
    expected = gaussian_mean(x, column(SIGMA, x), MEAN, STD)
    torch.testing.assert_close(Mirrored(inner, (-2, -1)).denoise(x, SIGMA), expected, rtol=0, atol=1e-7)
    with pytest.raises(ValueError, match="latent"):
        Mirrored(SlicewisePrior(latent_prior(), DEPTH), (-1,))
