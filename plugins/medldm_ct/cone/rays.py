"""Projection and its transpose ray by ray: any orientation of the detector, any device, no compiler.

The coefficients are those of :mod:`medldm_ct.cone.kernels`, where both apply: a ray is followed along the image axis
that it is closest to, and in each slab its value is the mean over a box of voxels as large as the bin seen there, times
the length of the ray. For a detector that is tilted the bin's shadow is a parallelogram, and the box is the one along
the image axes with its middle, its area and, as nearly as that allows, its sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from medldm_ct.cone.geometry import ConeBeam, VoxelBox

# Rays times slabs at a time: some 40 numbers of 8 bytes each.
_AT_ONCE = 1 << 18
_TIE = 1e-9
# Lateral axes of rays along x, y and z; axes are x, y, z.
_LATERAL = ((1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, eq=False)
class _Boxes:
    """The boxes of some rays in all slabs: ``(ray, slab)`` each, in voxels, and where their voxels lie."""

    low: tuple[Tensor, Tensor]
    high: tuple[Tensor, Tensor]
    weight: Tensor
    sizes: tuple[int, int]
    strides: tuple[int, int]
    base: Tensor

    def taps(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Index into the flat volume and share of the box, of each voxel that a box may meet."""
        starts = [low.floor() for low in self.low]
        many = [math.ceil(float((h - s).max())) for h, s in zip(self.high, starts, strict=True)]
        for i in range(many[0]):
            one, index = self._share(0, starts[0] + i)
            for j in range(many[1]):
                other, across = self._share(1, starts[1] + j)
                yield self.base + index * self.strides[0] + across * self.strides[1], one * other * self.weight

    def _share(self, axis: int, voxel: Tensor) -> tuple[Tensor, Tensor]:
        low, high, n = self.low[axis], self.high[axis], self.sizes[axis]
        overlap = torch.minimum(high, voxel + 1) - torch.maximum(low, voxel)
        inside = (overlap > 0) & (voxel >= 0) & (voxel < n)
        return torch.where(inside, overlap / (high - low), 0.0), voxel.clamp(0, n - 1).long()


class RayPair:
    """``A`` and ``A^T`` of any scan, on the device and in the precision of what they are applied to."""

    def __init__(self, beam: ConeBeam, box: VoxelBox) -> None:
        self.beam, self.box, self.shape = beam, box, beam.shape
        d = beam.detector
        v, u = torch.meshgrid(d.row_positions(), d.column_positions(), indexing="ij")
        half_v, half_u = torch.full_like(v, d.row_pitch / 2), torch.full_like(u, d.column_pitch / 2)
        zero = torch.zeros_like(v)
        # The middle of each bin, and of its four edges.
        steps = ((zero, zero), (zero, -half_u), (zero, half_u), (-half_v, zero), (half_v, zero))
        self._positions = [((v + dv).flatten(), (u + du).flatten()) for dv, du in steps]

    def project(self, x: Tensor) -> Tensor:
        """``(z, y, x)`` -> ``(view, row, column)``."""
        volume = x.reshape(-1)
        rays = x.new_zeros(math.prod(self.shape))
        for part, boxes in self._boxes(x.device):
            total = torch.zeros_like(boxes.weight[:, 0])
            for index, share in boxes.taps():
                total += (share * volume[index]).sum(1)
            rays[part] = total.to(x.dtype)
        return rays.view(self.shape)

    def backproject(self, y: Tensor) -> Tensor:
        """``(view, row, column)`` -> ``(z, y, x)``, the exact transpose of :meth:`project`."""
        rays = y.reshape(-1)
        volume = torch.zeros(self.box.size, dtype=torch.float64, device=y.device)
        for part, boxes in self._boxes(y.device):
            value = rays[part].double()[:, None]
            for index, share in boxes.taps():
                volume.index_add_(0, index.flatten(), (share * value).flatten())
        return volume.to(y.dtype).view(self.box.shape)

    def _boxes(self, device: torch.device) -> Iterator[tuple[Tensor, _Boxes]]:
        """Some rays of one view and one main axis at a time, by their indices, with their boxes."""
        beam, bins = self.beam, self.shape[1] * self.shape[2]
        upright = beam.upright
        for view in range(beam.views):
            one = beam.with_views([view])
            source = one.source[0].to(device)
            lines = torch.stack([one.points(v, u)[0] for v, u in self._positions]).to(device) - source
            size = lines[0].abs()
            main = torch.where(size[:, 1] >= size[:, 0] - _TIE, 1, 0)
            if not upright:
                main = torch.where(size[:, 2] > size[:, :2].amax(1) + _TIE, 2, main)
            for axis in main.unique().tolist():
                chosen = (main == axis).nonzero().flatten()
                for part in chosen.split(max(1, _AT_ONCE // self.box.shape[2 - axis])):
                    yield view * bins + part, self._of(lines[:, part], source, axis)

    def _of(self, lines: Tensor, source: Tensor, main: int) -> _Boxes:
        """The boxes of rays ``(5, ray, 3)`` from a source, followed along ``main``."""
        box = self.box
        n, spacing = box.shape[::-1], box.spacing[::-1]
        strides = (1, n[0], n[0] * n[1])
        slab = torch.arange(n[main], dtype=torch.float64, device=lines.device)
        far = box.first(main) + slab * spacing[main] - source[main]
        a, b = _LATERAL[main]

        def crossings(axis: int) -> Tensor:
            """(5, ray, slab) where the five lines cross the middle of each slab, in voxels."""
            slope = (lines[..., axis] / lines[..., main])[..., None]
            return (source[axis] + slope * far - box.first(axis)) / spacing[axis] + 0.5

        at_a, at_b = crossings(a), crossings(b)
        a_u, a_v = at_a[2] - at_a[1], at_a[4] - at_a[3]
        b_u, b_v = at_b[2] - at_b[1], at_b[4] - at_b[3]
        # Each image axis takes the direction of the detector that moves along it more.
        swapped = (a_v * b_u).abs() > (a_u * b_v).abs()
        side_a, side_b = torch.where(swapped, a_v, a_u).abs(), torch.where(swapped, b_u, b_v).abs()
        grow = ((a_u * b_v - a_v * b_u).abs() / (side_a * side_b)).sqrt() / 2
        middle_a = torch.where(swapped, at_a[4] + at_a[3], at_a[2] + at_a[1]) / 2
        middle_b = torch.where(swapped, at_b[2] + at_b[1], at_b[4] + at_b[3]) / 2
        side_a, side_b = side_a * grow, side_b * grow
        length = lines[0].norm(dim=1) / lines[0][:, main].abs() * spacing[main]
        ahead = far / lines[0][:, main, None] > 0
        return _Boxes(
            low=(middle_a - side_a, middle_b - side_b),
            high=(middle_a + side_a, middle_b + side_b),
            weight=torch.where(ahead, length[:, None], 0.0),
            sizes=(n[a], n[b]),
            strides=(strides[a], strides[b]),
            base=(slab * strides[main]).long(),
        )
