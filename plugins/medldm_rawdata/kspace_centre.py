"""Whether an array of k-space has frequency zero where it is taken to be, or at its first index, as an FFT puts it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medldm.errors import Problem

# Axes shorter than this have no ends apart from their middle.
_SHORTEST = 8
# The strongest frequency lies this near to zero, as a share of the axis: what a shift of the echo may do.
_NEAR = 1 / 16
# So many times the power at the stated centre, where noise alone has as much of it.
_STRONGER = 4.0


def centre_doubts(kspace: NDArray[np.complex64], places: Mapping[str, int], shifts: Mapping[str, int]) -> list[Problem]:
    """A warning for the axes whose strongest frequency lies at their ends.

    Args:
        kspace: finite, frequency zero taken to be at ``n // 2``.
        places: axis of the array, of each encoded axis by its name.
        shifts: samples by which each was turned until then.
    """
    wrong = {name: at for name, axis in places.items() if (at := _end(_power(kspace, axis), shifts[name])) is not None}
    if not wrong:
        return []
    told = " and ".join(f"{name} at index {at}" for name, at in wrong.items())
    centre = ", ".join(f'"{name}": 0' for name in wrong)
    return [
        Problem(
            "E-KSP-28",
            "warning",
            f"Frequency zero is taken to be elsewhere, and k-space is strongest along {told}, where an FFT puts it.",
            f'If it is in the order of an FFT, state in the JSON: "centre": {{{centre}}}.',
        )
    ]


def _power(kspace: NDArray[np.complex64], axis: int) -> NDArray[np.float64]:
    """Along one axis, summed over all others."""
    others = tuple(i for i in range(1, kspace.ndim) if i != axis)
    planes = [(plane.real**2 + plane.imag**2)[None].sum(others, dtype=np.float64) for plane in kspace]
    return np.stack(planes).ravel() if axis == 0 else np.sum(planes, axis=0).ravel()


def _end(power: NDArray[np.float64], shift: int) -> int | None:
    """The index, as stored, of the strongest frequency if it is at an end of the axis; else None."""
    n = len(power)
    stored = np.roll(power, -shift)
    at, centre = int(stored.argmax()), (n // 2 - shift) % n
    near = max(1, round(_NEAR * n))
    from_end, from_centre = min(at, n - at), min((at - centre) % n, (centre - at) % n)
    if n < _SHORTEST or from_end > near or from_centre <= n // 4:
        return None
    around = stored[(centre + np.arange(-near, near + 1)) % n].max()
    return at if stored[at] > _STRONGER * around else None
