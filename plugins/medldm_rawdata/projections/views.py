"""The angles of measured views: checked, unwrapped over zero, and the kind of scan that they make."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem

Array = NDArray[np.float64]
# Beyond this share of the detector, off centre, a full turn is weighted as one of a displaced detector.
_DISPLACED = 0.05


@dataclass(frozen=True)
class Views:
    """Angles of the views of one scan.

    Attributes:
        degrees: one per view, in the order measured, within one turn and without a jump at 360.
        problems: warnings for ``medldm inspect``.
    """

    degrees: Array
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, degrees: Array, views: int, file: str) -> Views:
        """Check the angles of ``views`` views.

        Raises:
            InputRefused: E-PRJ-08 when their number does not fit, when they are not finite, or all the same.
        """
        angles = np.asarray(degrees, dtype=np.float64).ravel()
        distinct = len(np.unique(np.round(angles, 9)))
        fault = ""
        if len(angles) != views:
            fault = f"{len(angles)} angles for {views} views"
        elif not np.isfinite(angles).all():
            fault = f"{int((~np.isfinite(angles)).sum())} of {views} angles are NaN or infinite"
        elif distinct == 1 and views > 1:
            fault = f"all {views} views are at {angles[0]:g} degrees"
        if fault:
            raise InputRefused(
                "E-PRJ-08",
                f"The angles of {file} cannot be used: {fault}.",
                why="Every view needs its own direction, and a wrong one smears the whole image.",
                fix="Store one finite angle per view; remove views that were not measured.",
            )
        notes = [f"{views - distinct} views repeat an angle"] if distinct < views else []
        if (np.diff(angles) < 0).any() and (np.diff(angles) > 0).any():
            notes.append("angles are not in order")
        problems: tuple[Problem, ...] = ()
        if notes:
            sentence = f"{' and '.join(notes).capitalize()}."
            problems = (Problem("E-PRJ-09", "warning", sentence, "Each view is taken at the angle stated."),)
        return cls(_unwrapped(angles), problems)

    @property
    def radians(self) -> Array:
        """The angles in radians."""
        return np.asarray(np.deg2rad(self.degrees))

    @property
    def arc(self) -> float:
        """Angle that the views stand for in degrees: their span and one step more."""
        n = len(np.unique(np.round(self.degrees, 9)))
        return float(np.ptp(self.degrees)) * n / max(1, n - 1) if n > 1 else 180.0

    def near(self, arc: float) -> bool:
        """Whether the views cover this arc, to about a step: what the weights of the physics ask for."""
        step = arc / len(self.degrees)
        return abs(float(np.ptp(self.degrees)) + step - arc) <= max(1.5 * step, 0.01 * arc)

    def weights(self, *, opening_deg: float, fan: bool, offset: float) -> tuple[str, float, tuple[Problem, ...]]:
        """The name of the redundancy weights, their arc in degrees, and what is to be said about it.

        Args:
            opening_deg: half the opening of the fan.
            fan: whether the rays diverge.
            offset: of the detector's middle, as a share of the detector.
        """
        if self.near(360.0):
            return ("displaced" if abs(offset) > _DISPLACED else "full-turn"), 360.0, ()
        if not fan and self.near(180.0):
            return "half-turn", 180.0, ()
        arc = min(self.arc, 360.0)
        if fan and arc >= 180 + 2 * opening_deg:
            return "short-scan", arc, ()
        if fan or arc < 180:
            return "limited", arc, ()
        sentence = f"Parallel rays over {arc:.4g} degrees measure some lines twice."
        remedy = "The filtered start image is shaded; iterative solvers are not. Store half a turn, or a full one."
        return "limited", arc, (Problem("E-PRJ-19", "warning", sentence, remedy),)


def _unwrapped(angles: Array) -> Array:
    """Angles within one turn that begin behind the widest gap, so that none jumps at 360."""
    turned = np.mod(angles, 360.0)
    ordered = np.unique(np.round(turned, 9))
    gaps = np.diff(ordered, append=ordered[0] + 360.0)
    widest = int(gaps.argmax())
    closed = gaps[widest] <= 3 * float(np.median(gaps))
    if np.ptp(angles) <= (360.0 if closed else 360.0 - gaps[widest]) + 1e-6:
        return angles
    first = ordered[(widest + 1) % len(ordered)]
    return np.asarray(first + np.mod(turned - first + 1e-9, 360.0) - 1e-9)


def fan_opening(bins: int, pitch: float, offset: float, source_to_detector: float, *, curved: bool) -> float:
    """Half the opening of a fan in degrees."""
    ratio = (bins * pitch / 2 + abs(offset)) / source_to_detector
    return math.degrees(ratio if curved else math.atan(ratio))
