"""How densely shots sample k-space, whatever way they take through it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# A path this much longer than the distance of its ends is no line.
_BENT = 1.01


def acceleration(steps: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """Shots of full sampling per measured one.

    Neighbouring paths of full sampling are one step apart, so the length of all paths is then the area that they fill:
    that of the ellipse which the samples reach. Samples more than a step apart leave gaps, which are not length.
    Spokes are twice as dense on the average as where they end, and full sampling means there too: ``pi/2 n`` spokes,
    or ``n / 2`` turns of spiral arms, for an image of ``n x n``.

    Args:
        steps: (shot, sample, 2), places in Cartesian steps, 1 / field of view.
        mask: (shot, sample), where it was measured.
    """
    length = float(_paths(steps, mask).sum())
    area = math.pi * float(np.abs(steps[mask]).max(axis=0).prod())
    return area / max(length, 1.0) * (2 if are_spokes(steps, mask) else 1)


def are_spokes(steps: NDArray[np.float64], mask: NDArray[np.bool_]) -> bool:
    """Whether most shots are lines through, or from, the centre."""
    spokes, shots = 0, 0
    for path, measured in zip(steps, mask, strict=True):
        places = path[measured]
        if len(places) < 2:
            continue
        length = np.linalg.norm(np.diff(places, axis=0), axis=-1).sum()
        straight = length <= _BENT * np.linalg.norm(places[-1] - places[0])
        shots += 1
        spokes += bool(straight and np.linalg.norm(places, axis=-1).min() <= 1)
    return 2 * spokes > shots


def _paths(steps: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    between = np.minimum(np.linalg.norm(np.diff(steps, axis=1), axis=-1), 1.0)
    lengths: NDArray[np.float64] = (between * (mask[:, 1:] & mask[:, :-1])).sum(axis=1)
    return lengths
