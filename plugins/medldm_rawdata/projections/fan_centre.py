"""The centre of rotation of fan-beam projections over a full turn.

Every line is measured twice, once from each end: the ray under the fan angle ``gamma`` at view ``beta`` is that under
``-gamma`` at ``beta + 180 degrees - 2 gamma``. Fan angles are counted from the ray through the axis of rotation, so
that only with the right centre do the two measurements of each line agree.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medldm_rawdata.projections.rotation_centre import Centre

Array = NDArray[np.float64]
# Views that are compared, and the share of the detector on either side of its middle where a centre is looked for.
_VIEWS, _SHARE = 90, 0.25
# A second-best centre further away must fit worse by this factor, or there is no telling.
_DISTINCT = 1.05
# Steps between candidates in bins, from coarse to fine.
_STEPS = (2.0, 0.5, 0.125)


def find_fan_centre(
    projections: Array, degrees: Array, *, pitch: float, source_to_detector: float, curved: bool
) -> Centre | None:
    """The bin that the ray through the axis falls on, about a tenth of a bin exact where noise is small.

    Args:
        projections: ``(z, view, bin)`` line integrals.
        degrees: angles of the views.
        pitch: distance of the bins in mm.
        source_to_detector: in mm.
        curved: whether the detector is an arc around the source.

    Returns:
        None where the views do not cover a full turn evenly, or show nothing to go by.
    """
    turned = np.mod(degrees, 360.0)
    order = np.argsort(turned, kind="stable")
    angles, views, bins = turned[order], projections[:, order], projections.shape[-1]
    gaps = np.diff(angles, append=angles[0] + 360.0)
    if len(angles) < 8 or gaps.max() > 3 * 360.0 / len(angles):
        return None

    def misfit(centre: float) -> float:
        return _misfit(views, angles, centre, pitch, source_to_detector, curved)

    middle, reach = (bins - 1) / 2, _SHARE * bins
    best = middle
    for step in _STEPS:
        candidates = best + step * np.arange(-np.ceil(reach / step), np.ceil(reach / step) + 1)
        misfits = np.array([misfit(c) for c in candidates])
        if not np.isfinite(misfits).all():
            return None
        at = int(misfits.argmin())
        if step == _STEPS[0]:
            far = np.abs(candidates - candidates[at]) > bins / 16
            at_end = not 1 <= at < len(candidates) - 1
            if at_end or (far.any() and misfits[far].min() < _DISTINCT * misfits[at]):
                return None
        best, reach = float(candidates[at]), 2 * step
    a, b, _ = np.polyfit(candidates - best, misfits, 2)
    shift = float(np.clip(-b / (2 * a), -_STEPS[-1], _STEPS[-1])) if a > 0 else 0.0
    return Centre(best + shift, "both ends of each line")


def _misfit(views: Array, angles: Array, centre: float, pitch: float, far: float, curved: bool) -> float:
    """Energy of the differences of both measurements over that of the measurements, where both were made."""
    n, bins = len(angles), views.shape[-1]
    ratio = (np.arange(bins) - centre) * pitch / far
    gamma = ratio if curved else np.arctan(ratio)
    mirrored = 2 * centre - np.arange(bins)
    inside = (mirrored >= 0) & (mirrored <= bins - 1)
    if inside.sum() < bins // 4:
        return np.inf
    low = np.clip(np.floor(mirrored[inside]).astype(int), 0, bins - 2)
    share = mirrored[inside] - low
    some = np.arange(0, n, max(1, n // _VIEWS))
    opposite = np.mod(angles[some][:, None] + 180.0 - 2 * np.degrees(gamma[inside]), 360.0)
    after = np.searchsorted(angles, opposite)
    first, second = (after - 1) % n, after % n
    gap = np.mod(angles[second] - angles[first], 360.0)
    part = np.mod(opposite - angles[first], 360.0) / np.where(gap == 0, 1.0, gap)

    def read(view: NDArray[np.int64]) -> Array:
        between: Array = (1 - share) * views[:, view, low] + share * views[:, view, low + 1]
        return between

    again = (1 - part) * read(first) + part * read(second)
    own = views[:, some][..., inside]
    energy = float(np.square(own).sum() + np.square(again).sum())
    return float(np.square(own - again).sum()) / energy if energy > 0 else np.inf
