"""The centre of rotation of parallel projections, from views half a turn apart.

The view at ``theta + 180`` is the mirror image of that at ``theta``, mirrored about the axis of rotation. Where both
were measured they are laid on each other. Over half a turn nothing was measured twice; there the first views are
mirrored and put behind the last ones, and the sequence across that seam is smooth for the right centre only: its third
difference over the views is least.

Both are tried at centres of whole and half bins, where mirroring needs no interpolation, and the least is found
between them by a parabola.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused

Array = NDArray[np.float64]
# Standard deviation in bins of the smoothing that makes the misfit a parabola at the scale of a bin.
_SMOOTHING = 2.0
_THIRD_DIFFERENCE = (-1.0, 3.0, -3.0, 1.0)
# A second-best centre further away must fit worse by this factor, or there is no telling.
_DISTINCT = 1.05


@dataclass(frozen=True)
class Centre:
    """Where the axis of rotation projects to.

    Attributes:
        bin: index, 0 at the middle of the first bin.
        method: how it was found.
    """

    bin: float
    method: str

    def offset(self, bins: int, pitch: float) -> tuple[float, dict[str, object]]:
        """Position of the detector's middle seen from the axis, in the unit of the pitch, and what records say."""
        found = round(self.bin, 3)
        return ((bins - 1) / 2 - found) * pitch, {"centre_bin": found, "centre_from": self.method}


def centre_not_found(file: str, entry: str) -> InputRefused:
    """E-PRJ-14.

    Args:
        file: that holds the projections.
        entry: that states the centre, with what it is.
    """
    return InputRefused(
        "E-PRJ-14",
        f"The centre of rotation of {file} cannot be found.",
        why="The views do not measure lines twice, or the two measurements do not tell one centre from others.",
        fix=f"State {entry}, the position of the detector's middle seen from the axis of rotation.",
    )


def find_centre(projections: Array, degrees: Array) -> Centre | None:
    """The centre of rotation, about a twentieth of a bin exact where noise is small.

    Args:
        projections: ``(z, view, bin)`` line integrals.
        degrees: angles of the views.

    Returns:
        None where the views cover less than half a turn, or show nothing to go by.
    """
    order = np.argsort(degrees, kind="stable")
    angles, views = degrees[order], _smoothed(projections)[:, order]
    found = _opposite(angles)
    if found is not None:
        first, second = found
        terms = [(1.0, views[:, first], -1.0, views[:, second])]
        method = "opposite views"
    else:
        steps = np.diff(angles)
        step = float(np.ptp(angles)) / max(1, len(steps))
        closes = abs(float(np.ptp(angles)) + step - 180.0) <= 0.6 * step
        if len(angles) < 8 or not closes or steps.max() > 1.5 * steps.min():
            return None
        terms, method = _seam(views), "seam at 180 degrees"
    return _least(terms, projections.shape[-1], method)


def _opposite(angles: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Indices of pairs half a turn apart to a fiftieth of a degree, at most 64 of them."""
    wanted = angles + 180.0
    after = np.clip(np.searchsorted(angles, wanted - 0.02), 0, len(angles) - 1)
    first = np.flatnonzero(np.abs(angles[after] - wanted) <= 0.02)
    if not len(first):
        return None
    first = first[:: max(1, len(first) // 64)]
    return first, after[first]


def _seam(views: Array) -> list[tuple[float, Array, float, Array]]:
    """Third differences across the seam, each the sum of a part as measured and of a part to be mirrored."""
    parts = []
    for own in (1, 2, 3):
        last = sum(c * views[:, own_view] for c, own_view in zip(_THIRD_DIFFERENCE[:own], range(-own, 0), strict=True))
        following = sum(c * views[:, k] for k, c in enumerate(_THIRD_DIFFERENCE[own:]))
        parts.append((1.0, np.asarray(last)[:, None], 1.0, np.asarray(following)[:, None]))
    return parts


def _least(terms: list[tuple[float, Array, float, Array]], bins: int, method: str) -> Centre | None:
    """The half-integer centre of least misfit within the middle half of the detector, refined by a parabola."""
    candidates = np.arange(bins // 2, 3 * (bins - 1) // 2 + 1)  # twice the centre
    misfits = np.array([_misfit(terms, int(twice), bins) for twice in candidates])
    best = int(misfits.argmin())
    if not 1 <= best < len(candidates) - 1 or not np.isfinite(misfits).all():
        return None
    far = np.abs(candidates - candidates[best]) > bins // 8
    if far.any() and misfits[far].min() < _DISTINCT * misfits[best]:
        return None
    span = np.arange(max(0, best - 2), min(len(candidates), best + 3))
    a, b, _ = np.polyfit(candidates[span] - candidates[best], misfits[span], 2)
    shift = float(np.clip(-b / (2 * a), -1, 1)) if a > 0 else 0.0
    return Centre((float(candidates[best]) + shift) / 2, method)


def _misfit(terms: list[tuple[float, Array, float, Array]], twice: int, bins: int) -> float:
    """Energy of the sums over that of their parts, where measured and mirrored views overlap."""
    low, high = max(0, twice - bins + 1), min(bins - 1, twice)
    error = energy = 0.0
    for sign, one, mirrored_sign, other in terms:
        own = sign * one[..., low : high + 1]
        mirrored = mirrored_sign * other[..., twice - high : twice - low + 1][..., ::-1]
        error += float(np.square(own + mirrored).sum())
        energy += float(np.square(own).sum() + np.square(mirrored).sum())
    return error / energy if energy > 0 else np.inf


def _smoothed(projections: Array) -> Array:
    """Gaussian smoothing along the bins, the ends continued."""
    reach = int(4 * _SMOOTHING)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SMOOTHING) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(projections, ((0, 0), (0, 0), (reach, reach)), mode="edge")
    result: Array = sum(k * padded[..., i : i + projections.shape[-1]] for i, k in enumerate(kernel))
    return result
