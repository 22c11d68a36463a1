"""Volumes whose cone-beam projections are known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medldm_ct.cone.geometry import ConeBeam, VoxelBox

_SAMPLES = 4


@dataclass(frozen=True)
class Gaussian:
    """A blob ``amplitude exp(-sum ((x - centre) / width)^2 / 2)``; lengths in mm, ``(x, y, z)``, amplitude in 1/mm."""

    amplitude: float
    centre: tuple[float, float, float]
    width: tuple[float, float, float]

    def values(self, points: Tensor) -> Tensor:
        """``(..., 3)`` mm -> ``(...)``."""
        scaled = (points - points.new_tensor(self.centre)) / points.new_tensor(self.width)
        values: Tensor = self.amplitude * torch.exp(-scaled.square().sum(-1) / 2)
        return values

    def integrals(self, source: Tensor, towards: Tensor) -> Tensor:
        """Along the lines from ``source`` through points ``towards`` (..., 3) in mm."""
        width = towards.new_tensor(self.width)
        line = towards - source
        length = line.norm(dim=-1)
        line, begin = line / width, (source - towards.new_tensor(self.centre)) / width
        size = line.norm(dim=-1)
        closest = begin.square().sum(-1) - (begin * line).sum(-1).square() / size.square()
        integrals: Tensor = self.amplitude * math.sqrt(2 * math.pi) * length / size * torch.exp(-closest / 2)
        return integrals


@dataclass(frozen=True)
class Ellipsoid:
    """A body of one attenuation in 1/mm; lengths in mm, ``(x, y, z)``."""

    amplitude: float
    centre: tuple[float, float, float]
    width: tuple[float, float, float]

    def values(self, points: Tensor) -> Tensor:
        """``(..., 3)`` mm -> ``(...)``."""
        scaled = (points - points.new_tensor(self.centre)) / points.new_tensor(self.width)
        values: Tensor = self.amplitude * (scaled.square().sum(-1) <= 1).to(points.dtype)
        return values

    def integrals(self, source: Tensor, towards: Tensor) -> Tensor:
        """Along the lines from ``source`` through points ``towards`` (..., 3) in mm."""
        width = towards.new_tensor(self.width)
        line = towards - source
        length = line.norm(dim=-1)
        line, begin = line / width, (source - towards.new_tensor(self.centre)) / width
        a, b, c = line.square().sum(-1), (begin * line).sum(-1), begin.square().sum(-1) - 1
        integrals: Tensor = self.amplitude * length * 2 * (b.square() - a * c).clamp(min=0).sqrt() / a
        return integrals


Body = Gaussian | Ellipsoid


def blobs(radius: float) -> tuple[Gaussian, ...]:
    """Four smooth blobs within ``radius`` mm."""
    table = (
        (1.0, (0.30, 0.10, 0.05), (0.12, 0.14, 0.12)),
        (0.7, (-0.25, 0.35, -0.20), (0.10, 0.08, 0.09)),
        (0.5, (-0.10, -0.45, 0.25), (0.15, 0.15, 0.12)),
        (0.4, (0.45, -0.30, -0.05), (0.08, 0.08, 0.10)),
    )
    return tuple(
        Gaussian(amplitude, _times(radius, centre), _times(radius, width)) for amplitude, centre, width in table
    )


def sampled(bodies: tuple[Body, ...], box: VoxelBox, samples: int = _SAMPLES) -> Tensor:
    """Bodies averaged over each voxel from ``samples`` points along each axis: ``(z, y, x)`` float64."""
    fine = box.finer(samples)
    total = torch.zeros(box.shape, dtype=torch.float64)
    axes = [
        fine.first(a) + torch.arange(fine.shape[2 - a], dtype=torch.float64) * fine.spacing[2 - a] for a in range(3)
    ]
    for k in range(box.shape[0]):
        z, y, x = torch.meshgrid(axes[2][k * samples : (k + 1) * samples], axes[1], axes[0], indexing="ij")
        values = sum(body.values(torch.stack([x, y, z], -1)) for body in bodies)
        assert isinstance(values, Tensor)
        blocks = values.view(samples, box.shape[1], samples, box.shape[2], samples)
        total[k] = blocks.mean((0, 2, 4))
    return total


def projected(bodies: tuple[Body, ...], beam: ConeBeam, samples: int = _SAMPLES) -> Tensor:
    """Their line integrals, averaged over each bin from ``samples`` rays along rows and columns: float64."""
    d = beam.detector
    total = torch.zeros(beam.shape, dtype=torch.float64)
    shifts = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples - 0.5
    for dv in shifts.tolist():
        for du in shifts.tolist():
            v, u = torch.meshgrid(
                d.row_positions() + dv * d.row_pitch, d.column_positions() + du * d.column_pitch, indexing="ij"
            )
            for view in range(beam.views):
                one = beam.with_views([view])
                for body in bodies:
                    total[view] += body.integrals(one.source[0], one.points(v, u)[0])
    return total / samples**2


def _times(radius: float, lengths: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = lengths
    return radius * x, radius * y, radius * z
