"""Patches of training scans."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from medldm.inference.conditioning import Conditioning, Value
from medldm.training import augmentation
from medldm.training.config import PatchOptions, TrainConfig
from medldm.training.generic_images import generic_images
from medldm.training.sampler import Sampler
from medldm.training.training_scan import TrainingScan
from medldm.training.unit_range import UnitRange, range_of

_GENERIC_IMAGES, _GENERIC_SIZE = 384, 256
# A patch counts as filled when this share of it is above this value of the unit range; air alone teaches little.
FILLED, ABOVE = 0.1, 0.08
TRIES = 4


class PatchSampler(Sampler):
    """Draws patches from scans.

    Args:
        scans: of one side, trained on or held back.
        config: of the run.
        conditioning: what the network can be told.
        augment: False for the held-back side, whose patches are plain and fully told.
    """

    def __init__(
        self, scans: Sequence[TrainingScan], config: TrainConfig, conditioning: Conditioning, *, augment: bool
    ) -> None:
        super().__init__(scans, config, conditioning, augment=augment)
        self.scans = list(scans)
        self._ranges = {is_mr: range_of(config, is_mr=is_mr) for is_mr in {scan.is_mr for scan in self.scans}}
        two = config.patches.dimensions == 2
        self._generic_share = config.data.generic if augment and two else 0.0
        self._generic = (
            generic_images(self._noise.stream("generic"), _GENERIC_IMAGES, _GENERIC_SIZE)
            if self._generic_share
            else torch.zeros(0)
        )

    def one(self, step: int, item: int, size: int) -> tuple[Tensor, Mapping[str, Value]]:
        """One patch (channel, *spatial) and what is told of it."""
        generator = self._noise.stream("patch", step=step, sample=item)
        if generator.uniform() < self._generic_share:
            return self._from_generic(generator, size), {}
        scan = self.scans[self.drawn_source(generator)]
        patch, facts = self._cut(scan, generator, size)
        if not self.augment:
            return patch, self.known(facts)
        patch, changed = self._intensities(patch, scan, generator)
        if changed:
            facts.pop("contrast", None)
        return patch, self.told(facts, generator)

    def _from_generic(self, generator: np.random.Generator, size: int) -> Tensor:
        image = self._generic[int(generator.integers(len(self._generic)))]
        options = self.config.patches
        top, left = generator.integers(0, max(1, _GENERIC_SIZE - size + 1), 2)
        patch = image[top : top + size, left : left + size].float()
        patch = augmentation.turned(augmentation.mirrored(patch[None], generator), generator)
        if generator.uniform() < 0.5:
            patch = patch * generator.uniform(0.2, 1.2)
        patch = UnitRange.of(self.config.card.intensity).model(patch)
        return padded(patch.repeat(options.slab, 1, 1), (options.slab, size, size))

    def _cut(self, scan: TrainingScan, generator: np.random.Generator, size: int) -> tuple[Tensor, dict[str, Value]]:
        options, change = self.config.patches, self.config.augmentation
        if options.dimensions == 3:
            patch, spacing = (
                _block(scan, self._ranges[scan.is_mr], generator, size),
                float(np.prod(scan.spacing)) ** (1 / 3),
            )
            return self._mirrored(patch, generator), {**scan.facts, "spacing_mm": spacing}
        axis = slice_axis(scan, options, generator)
        across = [a for a in range(3) if a != axis]
        spacing = math.sqrt(scan.spacing[across[0]] * scan.spacing[across[1]])
        zoomed = self.augment and generator.uniform() < change.resample
        matrix = augmentation.resample_matrix(change, generator) if zoomed else torch.eye(2)
        reach = math.ceil(size * float(matrix.abs().sum(1).max())) + 4 if zoomed else size
        patch = _filled_region(scan, self._ranges[scan.is_mr], axis, options.slab, reach, generator)
        if zoomed:
            patch = augmentation.resampled(patch, matrix, size)
            spacing *= math.sqrt(abs(float(torch.linalg.det(matrix))))
        patch = self._mirrored(patch, generator)
        if self.augment and generator.uniform() < change.turn:
            patch = augmentation.turned(patch, generator)
        if self.augment and generator.uniform() < change.blur:
            patch = augmentation.blurred(patch, generator)
        return patch, {**scan.facts, "plane": scan.planes[axis], "spacing_mm": spacing}

    def _mirrored(self, patch: Tensor, generator: np.random.Generator) -> Tensor:
        return augmentation.mirrored(patch, generator) if self.augment else patch

    def _intensities(self, patch: Tensor, scan: TrainingScan, generator: np.random.Generator) -> tuple[Tensor, bool]:
        options, changed = self.config.augmentation, False
        if scan.is_mr:
            patch = self._ranges[scan.is_mr].unit(patch)
            patch, changed = augmentation.with_other_contrast(patch, options, generator)
            if generator.uniform() < options.rim:
                patch = augmentation.with_rim(patch, generator)
            if generator.uniform() < options.bias:
                patch = augmentation.with_bias_field(patch, generator)
            if generator.uniform() < options.background:
                patch = augmentation.with_background(patch, generator)
            # The scale of MR is a percentile of the start image, which its errors move.
            if generator.uniform() < options.gain:
                patch = patch * math.exp(generator.uniform(-1, 1) * math.log(options.gain_range))
            patch = self._ranges[scan.is_mr].model(patch)
        return patch, changed


def axis_shares(scan: TrainingScan, options: PatchOptions) -> list[float]:
    """How often slices are taken across each axis: any of the wanted planes whose samples are nearly square."""
    shares = []
    for axis in range(3):
        across = [scan.spacing[a] for a in range(3) if a != axis]
        long_enough = min(scan.data.shape[a] for a in range(3) if a != axis) > 8
        square = max(across) / min(across) <= options.cube
        wanted = options.planes.get(scan.planes[axis], 0.0)  # type: ignore[call-overload]
        shares.append(wanted if square and long_enough else 0.0)
    return shares


def slice_axis(scan: TrainingScan, options: PatchOptions, generator: np.random.Generator) -> int:
    """The axis across which a patch's slices lie, drawn by the shares."""
    shares = axis_shares(scan, options)
    total = sum(shares)
    if total == 0:
        # The scan's own slices, whatever their plane is called.
        return int(np.argmax(scan.spacing))
    return int(np.searchsorted(np.cumsum(shares) / total, generator.uniform(), side="right"))


def _filled_region(
    scan: TrainingScan, values: UnitRange, axis: int, slab: int, size: int, generator: np.random.Generator
) -> Tensor:
    """(slab, size, size) from a random place, tried again while it holds little but air; padded by its edge."""
    best, most = torch.zeros(0), -1.0
    for _ in range(TRIES):
        depth = scan.data.shape[axis]
        first = int(generator.integers(0, max(1, depth - slab + 1)))
        slices = scan.data.narrow(axis, first, min(slab, depth - first)).movedim(axis, 0)
        top, left = (int(generator.integers(0, max(1, n - size + 1))) for n in slices.shape[1:])
        region = slices[:, top : top + size, left : left + size].float()
        filled = float((values.unit(region) > ABOVE).float().mean())
        if filled > most:
            best, most = region, filled
        if filled > FILLED:
            break
    return padded(best, (slab, size, size))


def _block(scan: TrainingScan, values: UnitRange, generator: np.random.Generator, size: int) -> Tensor:
    """(1, size, size, size) from a random place, tried again while it holds little but air."""
    best, most = torch.zeros(0), -1.0
    for _ in range(TRIES):
        corner = [int(generator.integers(0, max(1, n - size + 1))) for n in scan.data.shape]
        z, y, x = (slice(c, c + size) for c in corner)
        region = scan.data[z, y, x].float()
        filled = float((values.unit(region) > ABOVE).float().mean())
        if filled > most:
            best, most = region, filled
        if filled > FILLED:
            break
    return padded(best, (size, size, size))[None]


def padded(region: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Grown to a shape by repeating its edge, centred: what lies beyond a scan is more of its border, mostly air."""
    for axis, wanted in enumerate(shape):
        missing = wanted - region.shape[axis]
        if missing > 0:
            before = missing // 2
            index = torch.arange(-before, region.shape[axis] + missing - before).clamp(0, region.shape[axis] - 1)
            region = region.index_select(axis, index)
    return region
