"""Branching trees that fill a lung: arteries, veins and bronchi."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phantoms.fields import Triple


@dataclass(frozen=True)
class Segment:
    """A piece of a branch: its ends in mm, its radius in mm, and the number of end points it feeds."""

    start: Triple
    end: Triple
    radius: float
    feeds: int


def grow(
    targets: NDArray[np.float64],
    root: Triple,
    radius: float,
    *,
    smallest: float,
    inside: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
    exponent: float = 0.36,
) -> list[Segment]:
    """Grow a tree from a root to all target points.

    Each branch heads for the middle of the points that it feeds and forks there into the two halves of those points
    on either side of their longest extent. The radius follows Murray's law (J. Gen. Physiol. 9, 1926) with an exponent
    a little above a third, for the outer branches are more tapered than the law asks.

    Args:
        targets: (n, 3) points to be fed, mm.
        root: where the tree enters, mm.
        radius: of the stem, mm.
        smallest: branches thinner than this (mm) are left out.
        inside: tells which of (n, 3) points lie in the organ; a fork outside is moved towards the points.
        exponent: of the number of points fed in the radius.
    """
    total = len(targets)
    segments: list[Segment] = []
    generation = [(np.asarray(root, np.float64), np.asarray(targets, np.float64))]
    while generation:
        generation = [(start, fed) for start, fed in generation if radius * (len(fed) / total) ** exponent >= smallest]
        if not generation:
            break
        starts = np.stack([start for start, _ in generation])
        middles = np.stack([fed.mean(axis=0) for _, fed in generation])
        counts = np.array([len(fed) for _, fed in generation])
        ends = starts + np.where(counts == 1, 1.0, 0.45)[:, None] * (middles - starts)
        # All forks of a generation are tested at once: the outline of an organ is costly to evaluate point by point.
        lost = ~inside(ends) & (counts > 1) & (counts < total)
        ends[lost] = (starts + 0.85 * (middles - starts))[lost]
        following = []
        for start, middle, end, (_, fed) in zip(starts, middles, ends, generation, strict=True):
            thickness = radius * (len(fed) / total) ** exponent
            segments.append(Segment(_triple(start), _triple(end), thickness, len(fed)))
            if len(fed) > 1:
                _, _, axes = np.linalg.svd(fed - middle, full_matrices=False)
                order = np.argsort((fed - middle) @ axes[0], kind="stable")
                half = len(fed) // 2
                following += [(end, fed[order[:half]]), (end, fed[order[half:]])]
        generation = following
    return segments


def _triple(point: NDArray[np.float64]) -> Triple:
    return (float(point[0]), float(point[1]), float(point[2]))
