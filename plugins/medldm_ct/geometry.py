"""Scan geometries of one slice as frozen values: parallel and fan beam, any angles.

Lengths are in mm, angles in radians. The centre of rotation is the centre of the image, halfway between its middle
pixels where their number is even. ``x`` grows with the column index and ``y`` with the row index of the image, so on
a display (row 0 on top) angles grow clockwise.

A line is written ``x cos(theta) + y sin(theta) = s``. The README has a sketch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from medldm.errors import InputRefused


@dataclass(frozen=True)
class ImagePlane:
    """The pixels of one slice, centred on the axis of rotation.

    Attributes:
        shape: number of rows and columns ``(y, x)``.
        spacing: pixel size ``(y, x)`` in mm; the two may differ.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float]

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not min(self.spacing) > 0:
            raise ValueError(f"an image plane needs pixels of positive size, got {self.shape} of {self.spacing} mm")

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    @property
    def radius(self) -> float:
        """Of the circle around the image in mm."""
        return math.hypot(self.shape[0] * self.spacing[0], self.shape[1] * self.spacing[1]) / 2

    def finer(self, factor: int) -> ImagePlane:
        """The same area with every pixel cut into ``factor x factor``."""
        return ImagePlane(
            (self.shape[0] * factor, self.shape[1] * factor), (self.spacing[0] / factor, self.spacing[1] / factor)
        )


@dataclass(frozen=True)
class Scan:
    """What parallel and fan beams share: angles and one row of detector bins.

    Attributes:
        angles: of the views in radians; a tensor or any sequence of numbers is taken.
        bins: number of detector bins.
        pitch: distance of neighbouring bins in mm along the detector (along its arc where it is curved).
        offset: position of the detector's middle in mm along the detector, 0 when it is centred.
    """

    angles: tuple[float, ...]
    bins: int
    pitch: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        angles: Any = self.angles
        if isinstance(angles, Tensor):
            angles = angles.tolist()
        object.__setattr__(self, "angles", tuple(float(a) for a in angles))
        if not self.angles or self.bins < 1:
            raise InputRefused(
                "E-CT-01",
                f"The scan has {len(self.angles)} views of {self.bins} bins.",
                why="There is nothing to project or to reconstruct from.",
                fix="Give at least one view and one detector bin.",
            )
        if not all(map(math.isfinite, (*self.angles, self.pitch, self.offset))) or self.pitch <= 0:
            raise InputRefused(
                "E-CT-02",
                f"The scan geometry is not usable: pitch {self.pitch} mm, offset {self.offset} mm, "
                f"angles finite: {all(map(math.isfinite, self.angles))}.",
                why="Rays cannot be placed in the image.",
                fix="Give finite angles in radians and a positive detector pitch in mm.",
            )

    @property
    def views(self) -> int:
        """Number of views."""
        return len(self.angles)

    @property
    def rays(self) -> int:
        """Number of measured values of one slice."""
        return self.views * self.bins

    def with_views(self, index: Sequence[int]) -> Self:
        """The scan with some of its views, in the given order."""
        return replace(self, angles=tuple(self.angles[i] for i in index))

    def edges(self) -> Tensor:
        """Positions of the ``bins + 1`` bin edges along the detector in mm, float64."""
        return (torch.arange(self.bins + 1, dtype=torch.float64) - self.bins / 2) * self.pitch + self.offset

    def centres(self) -> Tensor:
        """Positions of the bin centres along the detector in mm, float64."""
        edges = self.edges()
        return (edges[1:] + edges[:-1]) / 2

    def directions(self) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the view angles, float64."""
        angles = torch.tensor(self.angles, dtype=torch.float64)
        return angles.cos(), angles.sin()


@dataclass(frozen=True)
class ParallelBeam(Scan):
    """Parallel rays: view ``theta``, detector position ``s``, the line ``x cos(theta) + y sin(theta) = s``."""

    def lines(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Lines ``(theta, s)`` of shape ``(view, position)`` through detector positions in mm."""
        theta = torch.tensor(self.angles, dtype=torch.float64)[:, None].expand(-1, len(position))
        return theta, position[None].expand(self.views, -1)

    def positions(self, y: Tensor, x: Tensor) -> Tensor:
        """Detector positions in mm, ``(*points, view)``, of points of shape ``(*points, 1)`` in mm."""
        cos, sin = self.directions()
        return x * cos + y * sin

    def field_of_view(self, plane: ImagePlane) -> float:
        """Half the detector in mm that sees the whole image."""
        return plane.radius

    def check(self, plane: ImagePlane) -> None:
        """Every parallel scan can look at every image."""


@dataclass(frozen=True)
class FanBeam(Scan):
    """Rays from a point source to a flat or curved detector.

    The source of view ``beta`` stands at ``R (sin(beta), -cos(beta))`` in ``(x, y)``: above the image at ``beta = 0``.
    The detector position grows along ``(cos(beta), sin(beta))``. The ray under the fan angle ``gamma`` is the parallel
    ray ``theta = beta - gamma``, ``s = R sin(gamma)``, with ``gamma = atan(t / D)`` on a flat and ``gamma = t / D`` on
    a curved detector, which is a circular arc around the source (equiangular).

    Attributes:
        source_to_centre: distance R of the source from the axis of rotation in mm.
        source_to_detector: distance D of the source from the detector's middle in mm.
        curved: whether the detector is an arc around the source.
    """

    source_to_centre: float = 595.0
    source_to_detector: float = 1086.0
    curved: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.source_to_centre <= self.source_to_detector < math.inf):
            raise InputRefused(
                "E-CT-03",
                f"The source is {self.source_to_centre} mm from the axis and {self.source_to_detector} mm from the "
                "detector.",
                why="The axis of rotation must lie between the source and the detector.",
                fix="Give both distances in mm, the one to the detector the larger.",
            )
        limit = self.bins * self.pitch / 2 + abs(self.offset)
        if self.curved and limit / self.source_to_detector >= math.pi / 2:
            raise InputRefused(
                "E-CT-03",
                f"The curved detector reaches {math.degrees(limit / self.source_to_detector):.0f} degrees to one side.",
                why="Rays beyond 90 degrees leave the source away from the image.",
                fix="Give the pitch as mm of arc at the detector.",
            )

    def fan_angles(self, position: Tensor) -> Tensor:
        """Fan angles gamma of detector positions in mm."""
        ratio = position / self.source_to_detector
        return ratio if self.curved else ratio.atan()

    def lines(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Lines ``(theta, s)`` of shape ``(view, position)`` through detector positions in mm."""
        gamma = self.fan_angles(position)[None]
        theta = torch.tensor(self.angles, dtype=torch.float64)[:, None] - gamma
        return theta, (self.source_to_centre * gamma.sin()).expand_as(theta)

    def positions(self, y: Tensor, x: Tensor) -> Tensor:
        """Detector positions in mm, ``(*points, view)``, of points of shape ``(*points, 1)`` in mm."""
        cos, sin = self.directions()
        across, depth = x * cos + y * sin, self.source_to_centre + y * cos - x * sin
        ratio = across / depth
        return self.source_to_detector * (ratio.atan() if self.curved else ratio)

    def field_of_view(self, plane: ImagePlane) -> float:
        """Half the detector in mm that sees the whole image."""
        self.check(plane)
        gamma = math.asin(plane.radius / self.source_to_centre)
        return self.source_to_detector * (gamma if self.curved else math.tan(gamma))

    def check(self, plane: ImagePlane) -> None:
        """Refuse an image that reaches the source."""
        if plane.radius >= self.source_to_centre:
            raise InputRefused(
                "E-CT-04",
                f"The corners of the image are {plane.radius:.1f} mm from the axis, the source only "
                f"{self.source_to_centre:.1f} mm.",
                why="The source would pass through the image.",
                fix="Check the pixel size, or give the scanner's source distance in mm.",
            )


Geometry = ParallelBeam | FanBeam
