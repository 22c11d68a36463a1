"""Counts at a limit: that of their type, or of a camera whose files have room for more.

The latter is told by how often the largest value is reached.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem

# Of counts at the limit of their type more than this is no few.
_FEW = 0.05
# Of counts at a limit that is only seen, not known: more than this is the open beam, and leaves too little.
_MOST = 0.5
# The largest of noisy values is hardly ever met twice; a limit is met in this share of the samples and often.
_SHARE, _TIMES, _VIEWS = 1e-3, 20, 3
# From the flat field by so much, or to the end of a converter's range: a beam without noise has its own largest value.
_APART, _NEAR = 0.02, 1e-3
_BITS, _FURTHER = range(8, 17), range(9)


def plateau(data: NDArray[Any], flat: NDArray[np.float64]) -> float | None:
    """The count at which the camera ends; None where nothing shows one.

    The largest value must be met in a thousandth of the samples and in several views, and be either the end of the
    range of a converter of 8 to 16 bits, as it is or shifted, or apart from the open beam where it is met.

    Args:
        data: counts ``(view, row, bin)``.
        flat: mean counts of the open beam ``(row, bin)``, dark field included.
    """
    largest = float(data.max())
    met = data == data.max()
    times = int(met.sum())
    if largest <= 0 or times < max(_TIMES, _SHARE * data.size) or int(met.any((1, 2)).sum()) < _VIEWS:
        return None
    open_beam = float(np.median(flat[met.any(0)]))
    apart = abs(largest - open_beam) > _APART * abs(open_beam)
    ends = [((1 << bits) - 1) << further for bits in _BITS for further in _FURTHER if bits + further <= 16]
    return largest if apart or any(0 <= end - largest <= _NEAR * end for end in ends) else None


def limit_of(dtype: np.dtype[Any]) -> float | None:
    """The largest count that a type holds; None of floating point."""
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else None


def saturated(
    data: NDArray[Any], flat: NDArray[np.float64], limit: float | None, file: str
) -> tuple[NDArray[np.bool_], tuple[Problem, ...]]:
    """Counts that are to be given no weight, of the shape of ``data``, and what to say of them.

    Args:
        data: counts ``(view, row, bin)``.
        flat: mean counts of the open beam ``(row, bin)``, dark field included.
        limit: of the counts' type, see :func:`limit_of`.
        file: for messages.

    Raises:
        InputRefused: E-PRJ-11 when more than a few are at the limit of their type.
    """
    found = np.zeros(data.shape, dtype=bool) if limit is None else data == limit
    if found.mean() > _FEW:
        raise InputRefused(
            "E-PRJ-11",
            f"{found.mean():.0%} of the counts of {file} are at the detector's limit of {limit:g}.",
            why="What is beyond the limit was not measured.",
            fix="Measure again with a shorter exposure.",
        )
    if found.any():
        sentence = f"{int(found.sum())} of {found.size} counts are saturated."
        return found, (Problem("E-PRJ-11", "warning", sentence, "They are given no weight."),)
    camera = plateau(data, flat)
    if camera is None:
        return found, ()
    met = data == camera
    few = met.mean() <= _MOST
    sentence = f"{int(met.sum())} of {met.size} counts are equal to the largest, {camera:g}, the camera's limit."
    remedy = "They are given no weight" if few else "They are too many to be left out"
    remedy += "; measure with a shorter exposure, flats too."
    return met if few else found, (Problem("E-PRJ-11", "warning", sentence, remedy),)
