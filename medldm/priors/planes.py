"""How the axes of a volume lie in the body: the planes across them, and the pose that networks of volumes know."""

from __future__ import annotations

from dataclasses import dataclass

from medldm.data import Grid
from medldm.priors.card import Plane

# By the patient direction (LPS) that a slice lies across.
_ACROSS: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Pose:
    """How a volume is brought to z up (S), y to the back (P) and x to the patient's left (L).

    Attributes:
        order: the axes of the volume that become z, y and x.
        mirrored: which of z, y and x run the other way.
    """

    order: tuple[int, int, int]
    mirrored: tuple[int, ...]

    @property
    def canonical(self) -> bool:
        """Whether there is nothing to do."""
        return self == Pose((0, 1, 2), ())


def pose_of(grid: Grid) -> Pose:
    """The pose of a grid, by the nearest directions of an oblique one."""
    world = grid.patient_axes
    order = (world.index(2), world.index(1), world.index(0))
    return Pose(order, tuple(place for place, axis in enumerate(order) if grid.directions[world[axis], axis] < 0))


def planes_of(grid: Grid) -> tuple[Plane, Plane, Plane]:
    """The planes of slices across the axes z, y and x, each of the three once; the nearest ones of an oblique grid."""
    world = grid.patient_axes
    return _ACROSS[world[0]], _ACROSS[world[1]], _ACROSS[world[2]]
