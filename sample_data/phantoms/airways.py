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
    open_branches = [(np.asarray(root, np.float64), np.asarray(targets, np.float64))]
    while open_branches:
        start, points = open_branches.pop()
        thickness = radius * (len(points) / total) ** exponent
        if thickness < smallest:
            continue
        middle = points.mean(axis=0)
        reach = 0.45 if len(points) > 1 else 1.0
        end = start + reach * (middle - start)
        if len(points) < total and not bool(inside(end[None])[0]):
            end = start + 0.85 * (middle - start)
        segments.append(Segment(_triple(start), _triple(end), thickness, len(points)))
        if len(points) == 1:
            continue
        _, _, axes = np.linalg.svd(points - middle, full_matrices=False)
        order = np.argsort((points - middle) @ axes[0], kind="stable")
        half = len(points) // 2
        open_branches.append((end, points[order[:half]]))
        open_branches.append((end, points[order[half:]]))
    return segments


def _triple(point: NDArray[np.float64]) -> Triple:
    return (float(point[0]), float(point[1]), float(point[2]))
