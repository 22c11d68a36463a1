"""Ways through k-space that are no Cartesian grid: spokes and spirals, in 1/mm.

A trajectory is ``(shot, sample, 2)``, ky and kx in cycles per millimetre, along the rows and columns of the image grid
(its axes y and x). A grid with voxels of d mm represents ``|k| <= 1 / (2 d)`` along each axis; a field of view of
n d mm makes one Cartesian step ``1 / (n d)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from medldm.data import Grid

_GOLDEN = (math.sqrt(5) - 1) / 2
# Points by which the length of a path is measured, per turn.
_POINTS_PER_TURN = 256


@dataclass(frozen=True)
class Trajectory:
    """Options of a simulated trajectory; all slices have the same one.

    Attributes:
        kind: ``radial``, spokes through the centre; ``spiral``, from the centre outwards.
        shots: number of spokes or of spiral arms. Full sampling takes ``pi/2 n`` spokes, and ``n / 2`` turns of all
            arms together, for a matrix of ``n x n``.
        order: angles of the shots. ``golden``, each 111.25 degrees (radial) or 222.5 degrees (spiral) further;
            ``uniform``, equal steps.
        turns: of each spiral arm.
        decay: the radius of a spiral grows with this power of its angle: 1 samples evenly, 2 more densely at the
            centre.
        oversampling: samples along a shot per Cartesian step, or a few more.
    """

    kind: Literal["radial", "spiral"] = "radial"
    shots: Annotated[int, Field(ge=2, le=10_000)] = 64
    order: Literal["golden", "uniform"] = "golden"
    turns: Annotated[float, Field(gt=0, le=1000)] = 8.0
    decay: Annotated[float, Field(ge=1, le=4)] = 1.0
    oversampling: Annotated[float, Field(ge=1, le=4)] = 2.0

    def draw(self, grid: Grid) -> Tensor:
        """The trajectory (shot, sample, 2) in 1/mm, float64, that fills the ellipse that the grid represents."""
        _, ny, nx = grid.shape
        _, dy, dx = grid.spacing
        shot = self._radial(ny, nx) if self.kind == "radial" else self._spiral(ny, nx)
        turn = 2 * math.pi * self._fractions()
        cos, sin = turn.cos()[:, None], turn.sin()[:, None]
        y, x = shot.unbind(1)
        # Rotated as circles, then stretched to the ellipse.
        return torch.stack(((y * cos + x * sin) / (2 * dy), (x * cos - y * sin) / (2 * dx)), dim=-1)

    def acceleration(self, grid: Grid) -> float:
        """Shots of full sampling per measured one: at the edge of k-space for spokes, throughout for a spiral."""
        n = max(grid.shape[1:])
        return (math.pi / 2 * n if self.kind == "radial" else n / 2 / self.turns) / self.shots

    def samples(self, grid: Grid) -> int:
        """Samples of all shots."""
        ny, nx = grid.shape[1:]
        return self.shots * len(self._radial(ny, nx) if self.kind == "radial" else self._spiral(ny, nx))

    def _fractions(self) -> Tensor:
        """Angles of the shots as fractions of a turn; half a turn gives a spoke again."""
        number = torch.arange(self.shots, dtype=torch.float64)
        full = 0.5 if self.kind == "radial" else 1.0
        return full * (number * _GOLDEN % 1 if self.order == "golden" else number / self.shots)

    def _radial(self, ny: int, nx: int) -> Tensor:
        """One spoke along x (sample, 2), -1 ... 1, with a sample in the centre."""
        count = 2 * math.ceil(self.oversampling * max(ny, nx) / 2)
        place = (torch.arange(count, dtype=torch.float64) - count // 2) / (count / 2)
        return torch.stack((torch.zeros_like(place), place), dim=1)

    def _spiral(self, ny: int, nx: int) -> Tensor:
        """One arm (sample, 2) from the centre to the unit circle, samples at equal distances along it."""
        part = torch.linspace(0, 1, math.ceil(_POINTS_PER_TURN * self.turns) + 1, dtype=torch.float64)
        angle, radius = 2 * math.pi * self.turns * part, part**self.decay
        path = torch.stack((radius * angle.sin(), radius * angle.cos()), dim=1)
        length = torch.cat((torch.zeros(1, dtype=path.dtype), path.diff(dim=0).norm(dim=1).cumsum(0)))
        count = math.ceil(float(length[-1]) * max(ny, nx) / 2 * self.oversampling) + 1
        at = torch.linspace(0, float(length[-1]), count, dtype=torch.float64)
        above = torch.searchsorted(length, at).clamp(1, len(length) - 1)
        share = ((at - length[above - 1]) / (length[above] - length[above - 1]))[:, None]
        return torch.lerp(path[above - 1], path[above], share)


def plane_of(grid: Grid) -> tuple[int, int]:
    """Rows and columns of a slice."""
    _, ny, nx = grid.shape
    return ny, nx


def cycles_per_field_of_view(trajectory: Tensor, grid: Grid) -> Tensor:
    """The points (sample, 2) of a trajectory (shot, sample, 2) in 1/mm, as transforms take them; float64.

    Args:
        trajectory: ky and kx in 1/mm.
        grid: of the image.
    """
    field_of_view = [n * d for n, d in zip(grid.shape[1:], grid.spacing[1:], strict=True)]
    return trajectory.double().flatten(0, 1) * torch.tensor(field_of_view, dtype=torch.float64)
