"""Where source, detector and volume are, view by view, as frozen values.

Positions and directions are ``(x, y, z)`` in mm, in the frame of the scan: ``x`` grows with the image's column, ``y``
with its row, ``z`` with its slice, and the origin is where the scan says that it is, on a gantry the axis of rotation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from medldm.errors import InputRefused

_UNIT = 1e-6


@dataclass(frozen=True)
class VoxelBox:
    """The voxels of a volume.

    Attributes:
        shape: number of slices, rows and columns ``(z, y, x)``.
        spacing: voxel size ``(z, y, x)`` in mm; all three may differ.
        centre: middle of the box ``(x, y, z)`` in mm, in the frame of the scan.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not min(self.spacing) > 0 or not all(map(math.isfinite, self.centre)):
            raise ValueError(f"a volume needs voxels of positive size, got {self.shape} of {self.spacing} mm")

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def extent(self) -> tuple[float, float, float]:
        """Lengths of the edges ``(x, y, z)`` in mm."""
        x, y, z = (n * d for n, d in zip(self.shape[::-1], self.spacing[::-1], strict=True))
        return x, y, z

    @property
    def radius(self) -> float:
        """Of the smallest circle around the slices and the axis ``x = y = 0``, in mm."""
        return math.hypot(*(size / 2 + abs(c) for size, c in zip(self.extent[:2], self.centre[:2], strict=True)))

    def corners(self) -> Tensor:
        """(8, 3) corners in mm, float64."""
        half = torch.tensor(self.extent, dtype=torch.float64) / 2
        sign = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
        return torch.tensor(self.centre, dtype=torch.float64) + sign * half

    def first(self, axis: int) -> float:
        """Position in mm of the middle of the first voxel along ``x`` (0), ``y`` (1) or ``z`` (2)."""
        return self.centre[axis] - (self.shape[2 - axis] - 1) / 2 * self.spacing[2 - axis]

    def finer(self, factor: int) -> VoxelBox:
        """The same box with every voxel cut into ``factor`` along each axis."""
        z, y, x = self.shape
        dz, dy, dx = self.spacing
        return replace(
            self, shape=(z * factor, y * factor, x * factor), spacing=(dz / factor, dy / factor, dx / factor)
        )

    def slices(self, start: int, stop: int) -> VoxelBox:
        """The part from slice ``start`` to ``stop``, in the same place."""
        x, y, _ = self.centre
        middle = self.first(2) + ((start + stop - 1) / 2) * self.spacing[0]
        return replace(self, shape=(stop - start, *self.shape[1:]), centre=(x, y, middle))


@dataclass(frozen=True)
class Detector:
    """Rows and columns of equal bins, on a plane or on a cylinder around the source.

    Attributes:
        rows, columns: number of bins along ``v`` and along ``u``.
        row_pitch, column_pitch: distance of neighbouring rows and columns in mm at the detector (along the arc where
            it is curved).
        curved: whether the columns lie on a cylinder whose axis passes through the source along ``v`` (equiangular).
    """

    rows: int
    columns: int
    row_pitch: float
    column_pitch: float
    curved: bool = False

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise InputRefused(
                "E-CT-01",
                f"The detector has {self.rows} rows of {self.columns} bins.",
                why="There is nothing to project or to reconstruct from.",
                fix="Give at least one row and one column.",
            )
        if not (0 < self.row_pitch < math.inf and 0 < self.column_pitch < math.inf):
            raise InputRefused(
                "E-CT-02",
                f"The pitch of the detector is {self.row_pitch} mm by {self.column_pitch} mm.",
                why="Rays cannot be placed in the image.",
                fix="Give positive pitches in mm: between rows, and between columns.",
            )

    def row_positions(self) -> Tensor:
        """(row,) middles of the rows along ``v`` in mm from the detector's middle, float64."""
        return (torch.arange(self.rows, dtype=torch.float64) - (self.rows - 1) / 2) * self.row_pitch

    def column_positions(self) -> Tensor:
        """(column,) middles of the columns along ``u`` in mm from the detector's middle, float64."""
        return (torch.arange(self.columns, dtype=torch.float64) - (self.columns - 1) / 2) * self.column_pitch


@dataclass(frozen=True, eq=False)
class ConeBeam:
    """Any trajectory of a point source and a detector: four vectors for each view.

    Attributes:
        detector: its bins.
        source: (view, 3) position of the source in mm.
        centre: (view, 3) position of the detector's middle in mm.
        u, v: (view, 3) unit vectors along which columns and rows are counted, at right angles. On a curved detector
            ``u`` is the tangent at its middle.
    """

    detector: Detector
    source: Tensor
    centre: Tensor
    u: Tensor
    v: Tensor

    def __post_init__(self) -> None:
        for name in ("source", "centre", "u", "v"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name)).detach().cpu().double())
        shapes = {tuple(t.shape) for t in (self.source, self.centre, self.u, self.v)}
        fault = ""
        if len(shapes) != 1 or self.source.ndim != 2 or self.source.shape[1] != 3:
            fault = f"their shapes are {sorted(shapes)} and not (view, 3)"
        elif not all(bool(torch.isfinite(t).all()) for t in (self.source, self.centre, self.u, self.v)):
            fault = "some are NaN or infinite"
        elif self.views == 0:
            fault = "there are no views"
        else:
            lengths = torch.cat([self.u.norm(dim=1) - 1, self.v.norm(dim=1) - 1, (self.u * self.v).sum(1)]).abs()
            if float(lengths.max()) > _UNIT:
                fault = "the directions of rows and columns are not unit vectors at right angles"
            elif float(self.distance.min()) <= 0:
                fault = "a source lies on its detector"
        if fault:
            raise InputRefused(
                "E-CT-22",
                f"The source and detector vectors of the views cannot be used: {fault}.",
                why="Rays cannot be placed in the image.",
                fix="Give source and detector middle in mm and two unit vectors along the detector for every view.",
            )

    @property
    def views(self) -> int:
        """Number of views."""
        return len(self.source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Views, rows, columns."""
        return self.views, self.detector.rows, self.detector.columns

    @property
    def normal(self) -> Tensor:
        """(view, 3) unit vectors across the detector at its middle, away from the source."""
        across = torch.linalg.cross(self.u, self.v)
        towards = ((self.centre - self.source) * across).sum(1, keepdim=True)
        normal: Tensor = across * towards.sign()
        return normal

    @property
    def distance(self) -> Tensor:
        """(view,) distance in mm of the source from the detector, on a curved one from the middle of its arc."""
        line = self.centre - self.source
        if self.detector.curved:
            line = line - (line * self.v).sum(1, keepdim=True) * self.v
        else:
            line = (line * torch.linalg.cross(self.u, self.v)).sum(1, keepdim=True)
        distance: Tensor = line.norm(dim=1)
        return distance

    @property
    def upright(self) -> bool:
        """Whether the columns of bins run along the axis ``z``, up or down alike in all views."""
        along = self.v[:, 2]
        same = bool((along > 0).all()) or bool((along < 0).all())
        return same and float(self.v[:, :2].abs().max()) < _UNIT and float(self.u[:, 2].abs().max()) < _UNIT

    def with_views(self, index: Sequence[int]) -> Self:
        """The scan with some of its views, in the given order."""
        i = torch.as_tensor(list(index), dtype=torch.long)
        return replace(self, source=self.source[i], centre=self.centre[i], u=self.u[i], v=self.v[i])

    def points(self, along_v: Tensor, along_u: Tensor) -> Tensor:
        """Points of the detector in mm, ``(view, *positions, 3)``, at positions in mm from its middle.

        Args:
            along_v: along the rows' direction ``v``.
            along_u: along ``u``; of the same shape.
        """
        lift = (slice(None), *[None] * along_u.ndim, slice(None))
        row = self.v[lift] * along_v[..., None]
        if not self.detector.curved:
            return self.centre[lift] + row + self.u[lift] * along_u[..., None]
        line = self.centre - self.source
        height = (line * self.v).sum(1, keepdim=True) * self.v
        radius = (line - height).norm(dim=1)
        gamma = along_u / radius[lift[:-1]]
        arc = (line - height)[lift] * gamma.cos()[..., None]
        arc = arc + self.u[lift] * (radius[lift[:-1]] * gamma.sin())[..., None]
        points: Tensor = (self.source + height)[lift] + arc + row
        return points

    def seen_at(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where points ``(point, 3)`` in mm are projected to: positions along ``v`` and ``u`` in mm, and their depth.

        Returns:
            Three tensors ``(view, point)``; a depth that is not positive lies behind the source.
        """
        line, middle = points[None] - self.source[:, None], self.centre - self.source

        def along(vectors: Tensor, direction: Tensor) -> Tensor:
            part: Tensor = (vectors * direction[:, None]).sum(-1)
            return part

        normal = self.normal
        across, depth = along(line, self.u), along(line, normal)
        far = self.distance[:, None]
        if self.detector.curved:
            forward = middle - (middle * self.v).sum(1, keepdim=True) * self.v
            depth = along(line, forward / forward.norm(dim=1, keepdim=True))
            position_u = torch.atan2(across, depth) * far
            scale = far / torch.hypot(across, depth)
            height = along(middle[:, None], self.v)
            return scale * along(line, self.v) - height, position_u, depth
        scale = far / depth
        return (
            scale * along(line, self.v) - along(middle[:, None], self.v),
            scale * across - along(middle[:, None], self.u),
            depth,
        )

    def check(self, box: VoxelBox) -> None:
        """Refuse a volume that a source stands in, or that reaches behind one.

        Raises:
            InputRefused: ``E-CT-04``.
        """
        half, centre = torch.tensor(box.extent) / 2, torch.tensor(box.centre, dtype=torch.float64)
        inside = ((self.source - centre).abs() <= half).all(1)
        behind = (self.seen_at(box.corners())[2] <= 0).any(1)
        bad = inside | behind
        if bool(bad.any()):
            view = int(bad.nonzero()[0])
            where = "inside the volume" if bool(inside[view]) else "beside the volume, part of which lies behind it"
            raise InputRefused(
                "E-CT-04",
                f"The source of view {view} stands {where} ({int(bad.sum())} of {self.views} views).",
                why="Its rays do not cross the whole image.",
                fix="Check the voxel size, or give the scanner's source distance in mm.",
            )
