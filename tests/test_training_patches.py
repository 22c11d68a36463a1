"""Patches are addressed by (seed, step, item), and subjects that are held back are never trained on."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from training_scene import conditioning_of, head, sampler_of, scan_of, tiny_config

from medldm.training import patches as patches_module
from medldm.training.batches import Batches
from medldm.training.config import AugmentationOptions, DataOptions, PatchOptions, PatchShape, RunOptions, TrainConfig
from medldm.training.patches import PatchSampler
from medldm.training.scans import _with_share_held_back
from medldm.training.training_scan import TrainingScan

PLAIN = AugmentationOptions(
    **dict.fromkeys(("turn", "resample", "blur", "gain", "gamma", "curve", "invert", "bias", "rim", "background"), 0.0)
)


def _config(**changes: Any) -> TrainConfig:
    shapes = (PatchShape(16, 4, 0.5), PatchShape(24, 2, 0.5))
    return replace(tiny_config(), patches=PatchOptions(shapes=shapes, planes={"axial": 0.6, "coronal": 0.4}), **changes)


def _sampler(config: TrainConfig | None = None, **rest: Any) -> PatchSampler:
    scans = [scan_of(torch.from_numpy(head(n, (28, 30, 26))), subject=f"s{n}", mr=n > 0) for n in range(3)]
    return sampler_of(config or _config(), scans, **rest)


def test_a_patch_depends_on_its_address_alone() -> None:
    one, two = _sampler(), _sampler()
    backwards = {step: one.batch(step) for step in reversed(range(6))}
    for step in range(6):
        batch = two.batch(step)
        assert torch.equal(batch.images, backwards[step].images)
        assert torch.equal(batch.conditions, backwards[step].conditions)
        size = two.shape(step).size
        for item, image in enumerate(batch.images):
            assert torch.equal(one.one(step, item, size)[0], image)
    assert {two.shape(step).size for step in range(12)} == {16, 24}


def test_a_larger_batch_begins_with_the_smaller_one() -> None:
    small, large = (_sampler(replace(_config(), patches=PatchOptions(shapes=(PatchShape(16, n),)))) for n in (2, 5))
    assert torch.equal(large.batch(3).images[:2], small.batch(3).images)


@pytest.mark.parametrize("what", ["seed", "step", "item", "side"])
def test_other_addresses_give_other_patches(what: str) -> None:
    first = _sampler().one(2, 0, 16)[0]
    config = replace(_config(), augmentation=PLAIN)
    other = {
        "seed": lambda: _sampler(replace(_config(), seed=9)).one(2, 0, 16)[0],
        "step": lambda: _sampler().one(3, 0, 16)[0],
        "item": lambda: _sampler().one(2, 1, 16)[0],
        "side": lambda: _sampler(config, augment=False).one(2, 0, 16)[0],
    }[what]()
    assert not torch.equal(other, first)


class _Process:
    def __init__(self, index: int) -> None:
        self.process_index, self.num_processes = index, 2


def test_processes_draw_different_items_of_one_step() -> None:
    sampler = _sampler()
    of = [Batches(sampler, _Process(n), RunOptions(steps=9)) for n in (0, 1)]  # type: ignore[arg-type]
    for step in range(4):
        batch = sampler.shape(step).batch
        first, second = (one.at(step).images for one in of)
        assert torch.equal(first, sampler.batch(step).images)
        assert torch.equal(second, sampler.batch(step, batch).images)
        assert not torch.equal(first, second)
        assert of[0].images(step) == 2 * batch


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_give_the_same_batches_in_order_and_out_of_it() -> None:
    sampler = _sampler()
    alone = Batches(sampler, _Process(0), RunOptions(steps=9))  # type: ignore[arg-type]
    ahead = Batches(sampler, _Process(0), RunOptions(steps=9, workers=2))  # type: ignore[arg-type]
    for step in (0, 1, 2, 6, 7, 3):
        assert torch.equal(ahead.at(step).images, alone.at(step).images), step


def test_samplers_travel_to_workers_that_are_not_forked() -> None:
    sampler = _sampler()
    again = pickle.loads(pickle.dumps(sampler))
    assert torch.equal(again.batch(2).images, sampler.batch(2).images)


def _flat(value: float, **rest: Any) -> TrainingScan:
    return scan_of(torch.full((12, 20, 20), value), **rest)


def test_scans_are_drawn_by_weight() -> None:
    config = replace(_config(), augmentation=PLAIN)
    scans = [_flat(0.25, weight=3.0, subject="a"), _flat(0.75, weight=1.0, subject="b")]
    sampler = sampler_of(config, scans)
    values = [float(sampler.one(0, item, 16)[0].mean()) for item in range(400)]
    # Three standard deviations of 400 draws.
    assert sum(value < 0.5 for value in values) / 400 == pytest.approx(0.75, abs=0.065)


def test_planes_are_drawn_by_share_and_only_where_voxels_are_cubes() -> None:
    config = replace(_config(), augmentation=PLAIN)
    cube = scan_of(torch.rand(20, 22, 24))
    planes = [_plane(config, cube, item) for item in range(300)]
    assert set(planes) == {"axial", "coronal"}
    assert planes.count("axial") / 300 == pytest.approx(0.6, abs=0.085)
    thick = replace(cube, spacing=(5.0, 1.0, 1.0))
    assert {_plane(config, thick, item) for item in range(40)} == {"axial"}
    # The scan's own slices where none of the wanted planes is there.
    sagittal = replace(thick, planes=("sagittal", "axial", "coronal"))
    assert {_plane(config, sagittal, item) for item in range(40)} == {"sagittal"}


def _plane(config: TrainConfig, scan: TrainingScan, item: int) -> object:
    sampler = PatchSampler([scan], config, conditioning_of(config), augment=False)
    return sampler.one(0, item, 16)[1]["plane"]


def test_what_is_told_is_sometimes_left_out_but_never_wrong() -> None:
    config = replace(_config(), augmentation=PLAIN)
    sampler = sampler_of(config, [scan_of(torch.rand(20, 20, 20))])
    told = [sampler.one(0, item, 16)[1] for item in range(300)]
    assert all(facts.get("contrast", "t1w") == "t1w" and facts.get("spacing_mm", 1.0) == 1.0 for facts in told)
    share = sum("contrast" in facts for facts in told) / 300
    assert share == pytest.approx(0.9 * 0.8, abs=0.08)
    assert sum(not facts for facts in told) / 300 == pytest.approx(0.1 + 0.9 * 0.2**4, abs=0.055)
    # Held-back patches are told all.
    full = sampler_of(config, [scan_of(torch.rand(20, 20, 20))], augment=False)
    assert all(len(full.one(0, item, 16)[1]) == 4 for item in range(20))


def test_a_patch_of_changed_contrast_is_of_no_named_one() -> None:
    config = replace(_config(), augmentation=replace(PLAIN, curve=1.0))
    sampler = sampler_of(config, [scan_of(torch.rand(20, 20, 20))])
    assert not any("contrast" in sampler.one(0, item, 16)[1] for item in range(40))


def test_zoom_changes_the_spacing_that_is_told() -> None:
    options = replace(PLAIN, resample=1.0, degrees=0.0)
    config = replace(_config(), augmentation=options, patches=replace(_config().patches, keep=1.0, told=1.0))
    sampler = sampler_of(config, [scan_of(torch.rand(60, 60, 60))])
    spacings = [float(sampler.one(0, item, 16)[1]["spacing_mm"]) for item in range(60)]  # type: ignore[arg-type]
    assert 1 / 1.4 - 1e-3 <= min(spacings) < 0.85 and 1.15 < max(spacings) <= 1.4 + 1e-3


def test_gain_keeps_its_limits_and_is_for_mr_only() -> None:
    config = replace(_config(), augmentation=replace(PLAIN, gain=1.0, gain_range=1.35))
    gains = {mr: [float(sampler_of(config, [_flat(0.5, mr=mr)]).one(0, i, 16)[0].max()) * 2 for i in range(60)]
             for mr in (True, False)}  # fmt: skip
    assert 1 / 1.351 < min(gains[True]) < 0.85 and 1.15 < max(gains[True]) < 1.351
    assert set(gains[False]) == {1.0}


@pytest.mark.parametrize(("dimensions", "slab"), [(2, 1), (2, 3), (3, 1)])
def test_scans_smaller_than_a_patch_are_padded_by_their_edge(dimensions: Any, slab: int) -> None:
    patches = PatchOptions(dimensions=dimensions, slab=slab, shapes=(PatchShape(16, 2),))
    config = replace(tiny_config(), augmentation=PLAIN, patches=patches)
    sampler = sampler_of(config, [scan_of(torch.full((2, 10, 9), 0.5))])
    images = sampler.batch(0).images
    assert images.shape == ((2, slab, 16, 16) if dimensions == 2 else (2, 1, 16, 16, 16))
    assert bool((images == 0.5).all())


def test_slabs_are_neighbouring_slices_and_blocks_are_blocks() -> None:
    ramp = (torch.arange(24.0)[:, None, None] / 24).expand(24, 20, 20)
    slab = PatchOptions(slab=3, shapes=(PatchShape(16, 2),))
    images = sampler_of(replace(tiny_config(), augmentation=PLAIN, patches=slab), [scan_of(ramp)], augment=False)
    for item in range(20):
        steps = images.one(0, item, 16)[0].diff(dim=0)
        assert torch.allclose(steps, torch.full_like(steps, 1 / 24), atol=1e-3)
    block = PatchOptions(dimensions=3, shapes=(PatchShape(8, 2),))
    images = sampler_of(replace(tiny_config(), augmentation=PLAIN, patches=block), [scan_of(ramp)], augment=False)
    steps = images.one(0, 0, 8)[0].diff(dim=1)
    assert torch.allclose(steps, torch.full_like(steps, 1 / 24), atol=1e-3)


@pytest.mark.parametrize("slab", [1, 3])
@pytest.mark.parametrize(("size", "count"), [(16, 80), (300, 6)])
def test_a_share_of_generic_images_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch, slab: int, size: int, count: int
) -> None:
    monkeypatch.setattr(patches_module, "_GENERIC_IMAGES", 8)
    data = DataOptions((), tiny_config().data.intensity, (), generic=0.5)
    patches = PatchOptions(slab=slab, shapes=(PatchShape(size, 2),), keep=1.0, told=1.0)
    sampler = sampler_of(replace(tiny_config(), data=data, patches=patches, augmentation=PLAIN), [_flat(0.3125)])
    generic = 0
    for item in range(count):
        image, facts = sampler.one(0, item, size)
        assert image.shape == (slab, size, size) and 0 <= float(image.min()) <= float(image.max()) <= 1.2
        assert (facts == {}) == bool((image != 0.3125).any())
        generic += facts == {}
    assert 0 < generic < count
    if count == 80:
        assert generic / count == pytest.approx(0.5, abs=0.17)


def test_held_back_subjects_never_reach_the_training_side() -> None:
    """Each subject has a value of its own, so that a patch tells where it is from."""
    generator = np.random.default_rng(0)
    for trial in range(5):
        held = set(generator.choice(8, 3, replace=False).tolist())
        scans = [_flat(0.1 + 0.1 * n, mr=False, subject=f"s{n}", held_back=n in held) for n in range(8)]
        config = replace(_config(seed=trial), augmentation=replace(PLAIN, turn=0.5, blur=0.5))
        for side in (False, True):
            sampler = sampler_of(config, [scan for scan in scans if scan.held_back is side], augment=not side)
            seen = {round(float(sampler.one(step, item, 16)[0].mean()) * 10 - 1)
                    for step in range(10) for item in range(8)}  # fmt: skip
            assert seen == (held if side else set(range(8)) - held)


def test_a_share_of_the_subjects_is_held_back_whole_and_by_name_alone() -> None:
    scans = [_flat(0.5, subject=f"s{n // 2}") for n in range(20)]
    kept = {scan.subject for scan in _with_share_held_back(scans, 0.3) if scan.held_back}
    assert len(kept) == 3
    assert all(scan.held_back == (scan.subject in kept) for scan in _with_share_held_back(scans, 0.3))
    assert kept == {scan.subject for scan in _with_share_held_back(scans[::-1], 0.3) if scan.held_back}
    assert sum(scan.held_back for scan in _with_share_held_back(scans[:4], 0.01)) == 2, "one subject, two scans"
    assert not any(scan.held_back for scan in _with_share_held_back(scans, 0.0))
    assert not any(scan.held_back for scan in _with_share_held_back(scans[:2], 0.5)), "one subject is all there is"
