"""Which plane of the body a slice across each axis of a volume is."""

from __future__ import annotations

import itertools

import numpy as np

from medldm.data import Grid
from medldm.priors.card import Plane

# By the patient direction (LPS) that a slice lies across.
_ACROSS: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")


def planes_of(grid: Grid) -> tuple[Plane, Plane, Plane]:
    """The planes of slices across the axes z, y and x, each of the three once; the nearest ones of an oblique grid."""
    cosines = np.abs(grid.directions)
    nearest = max(
        itertools.permutations(range(3)), key=lambda p: sum(cosines[world, axis] for axis, world in enumerate(p))
    )
    return _ACROSS[nearest[0]], _ACROSS[nearest[1]], _ACROSS[nearest[2]]
