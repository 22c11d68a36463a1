"""In which sense a fan turns, told by rays that were measured twice from opposite sides.

The ray of view ``beta`` and fan angle ``gamma`` is measured again by view ``beta + 180 - 2 gamma`` under ``-gamma``
where bins and angles are counted in senses that fit each other, and by ``beta + 180 + 2 gamma`` where they are not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_VIEWS, _BINS = 90, 41
# The wrong sense must fit worse by this factor, or there is no telling.
_DISTINCT = 1.3
_FEWEST = 200


def turning(values: Array, radians: Array, gammas: Array) -> tuple[int, float, float] | None:
    """The sense that the rays agree with.

    Args:
        values: (view, bin) line integrals.
        radians: of the views.
        gammas: fan angles of the bins in radians, increasing.

    Returns:
        1 when angles and bins fit each other and -1 when one of the two must be reversed, with the root mean square
        difference of opposite rays in the right sense and in the wrong one; None when too few rays were measured
        twice, or when the object looks the same in both senses.
    """
    order = np.argsort(np.mod(radians, 2 * np.pi), kind="stable")
    angles, sorted_ = np.mod(radians, 2 * np.pi)[order], values[order]
    angles, first = np.unique(angles, return_index=True)
    sorted_ = sorted_[first]
    if len(angles) < 3:
        return None
    # Where the gap between neighbours is a gap in the scan, nothing is interpolated over it.
    step = 3 * float(np.median(np.diff(angles)))
    views = np.unique(np.linspace(0, len(angles) - 1, _VIEWS).round().astype(int))
    reach = min(-gammas[0], gammas[-1])
    fan = np.linspace(-reach, reach, _BINS)
    here = np.stack([np.interp(fan, gammas, sorted_[view]) for view in views])
    differences = {}
    for sense in (1, -1):
        wanted = np.mod(angles[views][:, None] + np.pi - 2 * sense * fan, 2 * np.pi)
        there, seen = _at(sorted_, angles, gammas, wanted, -fan, step)
        if seen.sum() < _FEWEST:
            return None
        differences[sense] = float(np.sqrt(np.mean((here - there)[seen] ** 2)))
    sense = min(differences, key=lambda s: differences[s])
    right, wrong = differences[sense], differences[-sense]
    return (sense, right, wrong) if wrong > _DISTINCT * right else None


def _at(
    values: Array, angles: Array, gammas: Array, wanted: Array, fan: Array, step: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Values at angles (view, ray) and fan angles (ray,), bilinear, and where there is a view on either side."""
    after = np.searchsorted(angles, wanted) % len(angles)
    before = (after - 1) % len(angles)
    gap = np.mod(angles[after] - angles[before], 2 * np.pi)
    share = np.mod(wanted - angles[before], 2 * np.pi) / np.where(gap > 0, gap, 1)
    place = np.interp(fan, gammas, np.arange(len(gammas)))
    low = np.minimum(place.astype(int), len(gammas) - 2)
    along = place - low

    def row(view: NDArray[np.intp]) -> Array:
        return np.asarray(values[view, low] * (1 - along) + values[view, low + 1] * along)

    return row(before) * (1 - share) + row(after) * share, (gap > 0) & (gap <= step)
