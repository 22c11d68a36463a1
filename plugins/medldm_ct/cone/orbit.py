"""Circular and helical orbits: the trajectories of gantries, with what filtered back-projection needs to know."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medldm.errors import InputRefused
from medldm_ct.cone.geometry import ConeBeam, Detector
from medldm_ct.geometry import FanBeam

# A source that moves along the axis by less than this share of a row does not move.
_MOVES = 1e-3


@dataclass(frozen=True)
class Orbit:
    """A source and a detector that turn together around the axis ``z``, which may move along it.

    In the plane the conventions are those of :class:`medldm_ct.geometry.FanBeam`: at angle ``beta`` the source stands
    at ``R (sin(beta), -cos(beta))`` and columns are counted along ``(cos(beta), sin(beta))``. Rows are counted along
    ``z``.

    Attributes:
        detector: its bins.
        angles: of the views in radians; of a helix they go on beyond a turn.
        source_to_centre: distance R of the source from the axis in mm.
        source_to_detector: distance D of the source from the detector in mm.
        heights: of the source of each view along ``z`` in mm; empty when all are zero.
        column_offset: position of the detector's middle along its columns in mm (along its arc), 0 when centred.
        row_offset: position of the detector's middle along ``z`` in mm, seen from the source.
    """

    detector: Detector
    angles: tuple[float, ...]
    source_to_centre: float
    source_to_detector: float
    heights: tuple[float, ...] = ()
    column_offset: float = 0.0
    row_offset: float = 0.0

    def __post_init__(self) -> None:
        for name in ("angles", "heights"):
            values: Any = getattr(self, name)
            values = values.tolist() if isinstance(values, Tensor) else values
            object.__setattr__(self, name, tuple(float(a) for a in values))
        if not self.heights:
            object.__setattr__(self, "heights", (0.0,) * len(self.angles))
        numbers = (*self.heights, self.row_offset)
        if len(self.heights) != len(self.angles) or not all(map(math.isfinite, numbers)):
            raise InputRefused(
                "E-CT-22",
                f"There are {len(self.heights)} heights of the source for {len(self.angles)} angles, or some are not "
                "finite.",
                why="Every view needs its place along the axis.",
                fix="Give one height in mm for each angle.",
            )
        _ = self.fan  # the checks of angles, offset and distances are those of the fan

    @property
    def fan(self) -> FanBeam:
        """The fan in the plane of the source: angles, columns, distances."""
        d = self.detector
        return FanBeam(
            self.angles, d.columns, d.column_pitch, self.column_offset,
            self.source_to_centre, self.source_to_detector, d.curved,
        )  # fmt: skip

    @property
    def views(self) -> int:
        """Number of views."""
        return len(self.angles)

    @property
    def helical(self) -> bool:
        """Whether the source moves along the axis, by more than a thousandth of a row seen there."""
        row = self.detector.row_pitch * self.source_to_centre / self.source_to_detector
        return max(self.heights) - min(self.heights) > _MOVES * row

    def beam(self) -> ConeBeam:
        """The four vectors of each view."""
        beta = torch.tensor(self.angles, dtype=torch.float64)
        # On an arc an offset turns the detector's middle around the source, on a plane it shifts it.
        arc = self.column_offset / self.source_to_detector if self.detector.curved else 0.0
        shift = 0.0 if self.detector.curved else self.column_offset
        zero = torch.zeros_like(beta)
        away = torch.stack([-(beta - arc).sin(), (beta - arc).cos(), zero], 1)
        u = torch.stack([(beta - arc).cos(), (beta - arc).sin(), zero], 1)
        v = torch.stack([zero, zero, zero + 1], 1)
        source = torch.stack(
            [self.source_to_centre * beta.sin(), -self.source_to_centre * beta.cos(), zero.new_tensor(self.heights)], 1
        )
        centre = source + self.source_to_detector * away + shift * u + self.row_offset * v
        return ConeBeam(self.detector, source, centre, u, v)


def circular(
    detector: Detector,
    angles: Tensor | tuple[float, ...],
    source_to_centre: float,
    source_to_detector: float,
    *,
    column_offset: float = 0.0,
    row_offset: float = 0.0,
) -> Orbit:
    """A circle in the plane ``z = 0``; angles in radians, lengths in mm."""
    return Orbit(detector, angles, source_to_centre, source_to_detector, (), column_offset, row_offset)  # type: ignore[arg-type]


def helical(
    detector: Detector,
    angles: Tensor | tuple[float, ...],
    source_to_centre: float,
    source_to_detector: float,
    *,
    feed: float,
    start: float,
    column_offset: float = 0.0,
    row_offset: float = 0.0,
) -> Orbit:
    """A helix: from ``start`` mm at the first view the source moves by ``feed`` mm along ``z`` for each turn."""
    beta = torch.as_tensor(angles, dtype=torch.float64)
    heights = start + (beta - beta[0]) * feed / (2 * math.pi)
    return Orbit(
        detector, tuple(beta.tolist()), source_to_centre, source_to_detector, tuple(heights.tolist()),
        column_offset, row_offset,
    )  # fmt: skip
