"""How often a scan measures each line: weights that filtered back-projection gives to its rays.

A line is measured again under the opposite direction. The weights of all measurements of a line must sum to one.
Which weights a scan needs is never guessed from its angles: they are named, and a scan that does not cover the arc
they are made for is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm_ct.geometry import FanBeam, Geometry

RedundancyName = Literal["half-turn", "full-turn", "short-scan", "displaced", "limited"]


def detector_half(needed: float, offset: float, *, displaced: bool) -> float:
    """Half the detector in mm that sees ``needed`` mm on both sides of the axis; a displaced one with its long end."""
    return needed - abs(offset) if displaced else needed + abs(offset)


@dataclass(frozen=True)
class Redundancy:
    """Weights for a named kind of scan.

    Attributes:
        kind: ``half-turn`` parallel rays over pi; ``full-turn`` over 2 pi; ``short-scan`` a fan over pi plus at least
            its opening (Parker 1982, in Silver's 2000 form for longer arcs); ``displaced`` a full turn with a
            detector that is off centre (Wang 2002); ``limited`` any other arc, every ray counted once.
        arc: angle that the views cover, in radians.
    """

    kind: RedundancyName
    arc: float

    @classmethod
    def named(cls, kind: RedundancyName, arc: float) -> Redundancy:
        """Weights by name for an arc in radians; the arcs of half and full turns must be what they say."""
        expected = {"half-turn": math.pi, "full-turn": 2 * math.pi, "displaced": 2 * math.pi}.get(kind, arc)
        if abs(arc - expected) > 1e-6 * expected or not 0 < arc <= 2 * math.pi * (1 + 1e-9):
            raise UsageError(
                "E-CT-08",
                f"The weights {kind!r} do not fit an arc of {math.degrees(arc):.6g} degrees.",
                why="Lines would be counted twice or not at all.",
                fix="Name the weights of the scan: half-turn (180), full-turn or displaced (360), short-scan, limited.",
            )
        return cls(kind, arc)

    def weights(self, geometry: Geometry) -> Tensor:
        """``(view, bin)`` float64 weights of the rays.

        Raises:
            UsageError: ``E-CT-08`` when the scan is not of this kind, ``E-CT-09`` when its views do not cover the arc.
        """
        self._check(geometry)
        shape = (geometry.views, geometry.bins)
        if self.kind in ("half-turn", "limited"):
            return torch.ones(shape, dtype=torch.float64)
        if self.kind == "full-turn":
            return torch.full(shape, 0.5, dtype=torch.float64)
        if self.kind == "displaced":
            return displaced_weights(geometry).expand(shape)
        return self._parker(geometry)

    def spacing(self, geometry: Geometry) -> Tensor:
        """(view,) float64 angle that each view stands for: half the way to its two neighbours; sums to the arc."""
        self._check_cover(geometry)
        angles = torch.tensor(geometry.angles, dtype=torch.float64)
        if len(angles) == 1:
            return torch.full((1,), self.arc, dtype=torch.float64)
        order = angles.argsort()
        gaps = angles[order].diff()
        closed = self.kind in ("half-turn", "full-turn", "displaced")
        ends = (self.arc - gaps.sum()).view(1) if closed else None
        before = torch.cat([ends if ends is not None else gaps[:1], gaps])
        after = torch.cat([gaps, ends if ends is not None else gaps[-1:]])
        return torch.empty_like(angles).scatter_(0, order, (before + after) / 2)

    def _check(self, geometry: Geometry) -> None:
        fan = isinstance(geometry, FanBeam)
        if (self.kind == "half-turn" and fan) or (self.kind == "short-scan" and not fan):
            raise UsageError(
                "E-CT-08",
                f"The weights {self.kind!r} do not fit a {'fan' if fan else 'parallel'} beam.",
                why="A fan needs more than half a turn, and parallel rays need no more.",
                fix="Use half-turn with parallel beams, short-scan or full-turn with fan beams.",
            )
        self._check_cover(geometry)

    def _check_cover(self, geometry: Geometry) -> None:
        span = max(geometry.angles) - min(geometry.angles)
        step = self.arc / geometry.views
        if abs(span + step - self.arc) > max(1.5 * step, 0.01 * self.arc):
            raise UsageError(
                "E-CT-09",
                f"The views cover {math.degrees(span):.2f} degrees, the weights {self.kind!r} are made for an arc of "
                f"{math.degrees(self.arc):.2f}.",
                why="The image would be scaled and shaded wrongly.",
                fix="State the arc that the views cover, and the weights for it.",
            )

    def _parker(self, geometry: Geometry) -> Tensor:
        assert isinstance(geometry, FanBeam)
        gamma = geometry.fan_angles(geometry.centres())[None]
        opening = float(geometry.fan_angles(geometry.edges()).abs().max())
        # A longer arc than needed is one with a wider fan (Silver 2000).
        delta = (self.arc - math.pi) / 2
        if delta < opening * (1 - 1e-9):
            raise UsageError(
                "E-CT-08",
                f"A short scan with this detector needs {math.degrees(math.pi + 2 * opening):.1f} degrees, the scan "
                f"has {math.degrees(self.arc):.1f}.",
                why="Some lines are not measured at all.",
                fix="Scan a longer arc, or name the weights 'limited' to reconstruct from incomplete data.",
            )
        angles = torch.tensor(geometry.angles, dtype=torch.float64)[:, None]
        # The arc is centred on the views, so that neither the first nor the last view is lost.
        beta = angles - (max(geometry.angles) + min(geometry.angles)) / 2 + self.arc / 2
        rising = (math.pi / 4 * beta / (delta + gamma).clamp(min=1e-12)).clamp(0, math.pi / 2).sin() ** 2
        falling = (math.pi / 4 * (self.arc - beta) / (delta - gamma).clamp(min=1e-12)).clamp(0, math.pi / 2).sin() ** 2
        return rising * falling


def displaced_weights(geometry: Geometry) -> Tensor:
    """(bin,) float64 weights of a detector off centre that turns by whole turns: those of opposite rays sum to one.

    Raises:
        UsageError: ``E-CT-10`` when the detector does not see the axis.
    """
    edges = geometry.edges()
    low, high = float(edges[0]), float(edges[-1])
    if low >= 0 or high <= 0:
        raise UsageError(
            "E-CT-10",
            f"The detector reaches from {low:.1f} to {high:.1f} mm and does not see the axis of rotation.",
            why="Lines near the axis are not measured by any view.",
            fix="Check the detector's offset in mm.",
        )
    overlap = min(-low, high)
    towards = 1.0 if geometry.offset >= 0 else -1.0
    position, limit = geometry.centres() * towards, torch.tensor(overlap, dtype=torch.float64)
    if isinstance(geometry, FanBeam):
        position, limit = geometry.fan_angles(position), geometry.fan_angles(limit)
    return (1 + (math.pi / 2 * (position / limit).clamp(-1, 1)).sin()) / 2
