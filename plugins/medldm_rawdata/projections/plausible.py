"""Whether line integrals can be those of an object, and whether the detector saw all of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem

Values = NDArray[np.float32]
# Of a beam attenuated by more than exp(-20) no detector measures anything.
_LARGEST = 20.0
# Below zero by less than this, and by this share of the largest line integral, is drift of the beam and scatter.
_DRIFT, _DRIFT_SHARE = 0.02, 0.01
_NOISE = 5.0
_FEW = 1e-3
# Iron attenuates some twenty times as much as water, and does not fill the detector.
_DENSEST = 30.0
# From view to view a helix goes on by equal steps.
_ODD_STEP = 3.0
# A row is cut off where it ends at more than this share of the largest; beyond this offset it is judged by one end.
_EDGE, _DISPLACED, _CUT_SHARE = 0.05, 0.05, 0.01


def require_content(values: NDArray[Any]) -> None:
    """Refuse line integrals that are all zero.

    Raises:
        InputRefused: E-PRJ-26.
    """
    if not values.any():
        raise InputRefused(
            "E-PRJ-26",
            f"All {values.size} line integrals are zero.",
            why="No object was in the beam, or the file was made but never filled: the image would be empty.",
            fix="Check how the file was written, and that it is the scan of the object.",
        )


def doubts(values: Values, photons: float, offset: float, counts: Values | None = None) -> tuple[Problem, ...]:
    """Warnings of line integrals ``(..., bin)`` that cannot be, and of a detector that cuts the object off.

    Args:
        values: finite.
        photons: per bin without an object, for the noise of air.
        offset: of the detector's middle, as a share of the detector.
        counts: of each bin, where they are known; of none nothing is said.
    """
    found: list[Problem] = []
    known = values if counts is None else values[counts > 0]
    if not known.size:
        return ()
    least, largest = float(known.min()), float(known.max())
    if largest > _LARGEST:
        sentence = f"Line integrals reach {largest:.4g}; of a beam weakened by exp(-{_LARGEST:g}) nothing is measured."
        remedy = "Check whether they are counts, or lengths in another unit than 1/mm times mm."
        found.append(Problem("E-PRJ-26", "warning", sentence, remedy))
    floor = max(_NOISE / math.sqrt(photons), _DRIFT) + _DRIFT_SHARE * max(largest, 0.0)
    if least < -floor and (share := float((known < -floor).mean())) > _FEW:
        sentence = (
            f"{100 * share:.2g}% of the line integrals lie below zero by more than noise explains, down to {least:.4g}."
        )
        remedy = "More than the open beam arrived there: check the sign, the photons stated, or the flat field."
        found.append(Problem("E-PRJ-26", "warning", sentence, remedy))
    if not found:  # what cannot be says nothing of where the object ends
        found += _cut_off(values, largest, offset)
    return tuple(found)


def out_of_scale(
    values: Values, width_mm: float, mu_water: float | None, counts: Values | None = None
) -> tuple[Problem, ...]:
    """A warning of an object that is denser than metal by its size, as one whose lengths are not in mm.

    Args:
        values: line integrals.
        width_mm: of what the detector sees at the axis, over which they go.
        mu_water: attenuation of water in 1/mm; None, where it is not stated, tells nothing.
        counts: see :func:`doubts`.
    """
    known = values if counts is None else values[counts > 0]
    if mu_water is None or not known.size:
        return ()
    largest = float(known.max())
    ratio = largest / width_mm / mu_water
    if ratio <= _DENSEST:
        return ()
    sentence = (
        f"Line integrals reach {largest:.4g} over the {width_mm:.3g} mm that the detector sees: {ratio:.3g} times the "
        "attenuation of water."
    )
    remedy = "Check that all lengths are in mm, and the attenuation of water in 1/mm."
    return (Problem("E-PRJ-26", "warning", sentence, remedy),)


def lost_views(radians: NDArray[np.float64], heights: NDArray[np.float64]) -> tuple[Problem, ...]:
    """A warning where a helix goes on much farther from one view to the next than it does elsewhere."""
    if len(heights) < 4:
        return ()
    turned, moved = np.abs(np.diff(radians)), np.abs(np.diff(heights))
    usual, step = float(np.median(turned)), float(np.median(moved))
    # Angles that begin anew with every turn go back by almost one, and on by the way that is left.
    shortest = np.abs(np.mod(np.diff(radians) + math.pi, 2 * math.pi) - math.pi)
    odd = (np.minimum(turned, shortest) > _ODD_STEP * usual + 1e-6) | (moved > _ODD_STEP * step + 1e-6)
    if not odd.any():
        return ()
    worst = int(np.argmax(moved * odd))
    sentence = (
        f"After view {worst + 1} the source goes on by {moved[worst]:.4g} mm and {math.degrees(turned[worst]):.4g} "
        f"degrees, elsewhere by {step:.3g} mm and {math.degrees(usual):.3g} degrees; such steps: {int(odd.sum())}."
    )
    remedy = "Projections may be missing there, or out of order: copy the scan again."
    return (Problem("E-PRJ-20", "warning", sentence, remedy),)


def _cut_off(values: Values, largest: float, offset: float) -> tuple[Problem, ...]:
    """The ends of rows that lie in the object; up to three bins are averaged there, so that noise is no object."""
    width = max(1, min(values.shape[-1] // 16, 3))
    first, last = values[..., :width].mean(-1), values[..., -width:].mean(-1)
    # Of a displaced detector the short end lies in the object by design.
    end = np.maximum(first, last) if abs(offset) <= _DISPLACED else (last if offset > 0 else first)
    cut = end > _EDGE * largest
    share = float(cut.mean())
    if share <= _CUT_SHARE:
        return ()
    what = "views" if 1 in values.shape[:-1] else "detector rows, counted in every view,"
    sentence = (
        f"The detector truncates the object: {share:.0%} of the {what} end in it, on average at "
        f"{float(end[cut].mean()) / largest:.0%} of the largest line integral."
    )
    remedy = "Values outside the field of view are unknown, and those near its edge are too large."
    return (Problem("E-PRJ-27", "warning", sentence, remedy),)
