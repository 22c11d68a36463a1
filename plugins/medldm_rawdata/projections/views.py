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
# So many views over no more than 2 pi degrees, or any over so many degrees, look like angles in the other unit.
_MANY, _WIDEST_SPAN = 16, 1000.0


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
            InputRefused: E-PRJ-08 when their number does not fit, when they are not finite, all the same, or just one.
        """
        angles = np.asarray(degrees, dtype=np.float64).ravel()
        distinct = len(np.unique(np.round(angles, 9)))
        fault = ""
        if len(angles) != views:
            fault = f"{len(angles)} angles for {views} views"
        elif not np.isfinite(angles).all():
            fault = f"{int((~np.isfinite(angles)).sum())} of {views} angles are NaN or infinite"
        elif views == 1:
            fault = "there is a single view"
        elif distinct == 1:
            fault = f"all {views} views are at {angles[0]:g} degrees"
        if fault:
            raise InputRefused(
                "E-PRJ-08",
                f"The angles of {file} cannot be used: {fault}.",
                why="Every view needs its own direction, and a wrong one smears the whole image.",
                fix="Store two views or more with one finite angle each; remove views that were not measured.",
            )
        notes = [f"{views - distinct} views repeat an angle"] if distinct < views else []
        # From one view to the next the shorter way round, so that an arc across 360 degrees is in order.
        steps = np.mod(np.diff(angles) + 180.0, 360.0) - 180.0
        if (steps < -1e-9).any() and (steps > 1e-9).any():
            notes.append("angles are not in order")
        problems = list(_unit_in_doubt(float(np.ptp(angles)), distinct))
        if notes:
            sentence = f"{' and '.join(notes).capitalize()}."
            problems.append(Problem("E-PRJ-09", "warning", sentence, "Each view is taken at the angle stated."))
        return cls(_unwrapped(angles), tuple(problems))

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
        """Whether the views cover this arc, to about a step: what the weights of the physics ask for.

        The step is that from a view to its neighbour, not the arc shared among the views: an arc of few views is no
        turn, and of a turn the gap from the last view to the first is like the others.
        """
        between = _step(np.diff(np.unique(np.round(self.degrees, 9))))
        return all(self._reach(arc, step) for step in (between, arc / len(self.degrees)))

    def _reach(self, arc: float, step: float) -> bool:
        """Whether the views and one step more make the arc, up to one view that is missing."""
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


def unit_doubt(what: str) -> Problem:
    """The warning that angles may have been stored in the other unit."""
    return Problem("E-PRJ-25", "warning", what, "Check whether they were stored in degrees or in radians.")


def _unit_in_doubt(span: float, distinct: int) -> tuple[Problem, ...]:
    """Angles in radians pass for a few degrees; degrees taken for radians become many turns."""
    if distinct >= _MANY and span <= 2 * math.pi + 1e-6:
        sentence = f"{distinct} angles span {span:.4g} degrees; taken for radians they span {math.degrees(span):.4g}."
        return (unit_doubt(sentence),)
    if span > _WIDEST_SPAN:
        sentence = f"The angles span {span:.5g} degrees, {span / 360:.3g} turns, as degrees taken for radians would."
        return (unit_doubt(sentence),)
    return ()


def _step(gaps: Array) -> float:
    """From a view to its neighbour in degrees, as the gaps between most have it."""
    return float(np.median(gaps)) if len(gaps) else 0.0


def _unwrapped(angles: Array) -> Array:
    """Angles within one turn that begin behind the widest gap, so that none jumps at 360."""
    turned = np.mod(angles, 360.0)
    ordered = np.unique(np.round(turned, 9))
    gaps = np.diff(ordered, append=ordered[0] + 360.0)
    widest = int(gaps.argmax())
    closed = gaps[widest] <= 3 * _step(np.delete(gaps, widest))
    if np.ptp(angles) <= (360.0 if closed else 360.0 - gaps[widest]) + 1e-6:
        return angles
    first = ordered[(widest + 1) % len(ordered)]
    return np.asarray(first + np.mod(turned - first + 1e-9, 360.0) - 1e-9)


def fan_opening(bins: int, pitch: float, offset: float, source_to_detector: float, *, curved: bool) -> float:
    """Half the opening of a fan in degrees."""
    ratio = (bins * pitch / 2 + abs(offset)) / source_to_detector
    return math.degrees(ratio if curved else math.atan(ratio))
