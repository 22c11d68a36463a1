"""Counts at the limit of a camera whose files have room for more, told by how often the largest value is reached."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
