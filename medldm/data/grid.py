"""Where the voxels of an image lie in the patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused

# Patient directions: DICOM's LPS. Letter of the positive and of the negative direction.
_LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))
# NIfTI's patient system is RAS; the matrix is its own inverse.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Headers round steps and places, which adds up along an axis. A part of the voxel, whatever its size in mm.
_SAME_VOXELS = 0.05


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular, possibly oblique or sheared grid of voxels.

    Two grids of one shape are equal where no voxel lies further than a twentieth of the finest spacing from its
    counterpart.

    Attributes:
        shape: number of voxels along each tensor axis, ``(z, y, x)``.
        affine: (4, 4) float64; ``affine @ (k_z, k_y, k_x, 1)`` is the centre of that voxel in mm in the
            patient system LPS (+x to the Left, +y to the Posterior, +z Superior, DICOM PS3.3 C.7.6.2.1.1).
            Column *i* is the step along *tensor axis i*, so the columns stand in the order z, y, x.
        axes: names of the tensor axes.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    axes: tuple[str, ...] = ("z", "y", "x")

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or len(self.shape) != 3 or len(self.axes) != 3:
            raise ValueError(f"a grid has three axes and a 4x4 affine, got shape {self.shape}, affine {affine.shape}")
        if any(n < 1 for n in self.shape):
            raise InputRefused("E-GEO-20", f"The image has an empty axis: {self.shape}.")
        if not np.isfinite(affine).all():
            raise InputRefused(
                "E-GEO-21",
                "The image's geometry contains NaN or infinity.",
                why="Voxels cannot be placed in the patient.",
                fix="Repair the header, or re-export the scan.",
            )
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        # Of the steps' own size, which is a thousandth of a millimetre in synchrotron scans.
        if not steps.all() or abs(np.linalg.det(affine[:3, :3] / steps)) < 1e-6:
            raise InputRefused(
                "E-GEO-22",
                "The image's geometry is degenerate: its axes do not span the space.",
                why="At least one voxel spacing is zero or two axes are parallel.",
                fix="Repair the header, or re-export the scan.",
            )
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Grid)
            and self.shape == other.shape
            and self.axes == other.axes
            and self._farthest(other) <= _SAME_VOXELS * min(*self.spacing, *other.spacing)
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.axes))

    @classmethod
    def isotropic(cls, shape: Sequence[int], spacing: float | Sequence[float] = 1.0) -> Grid:
        """An axial grid centred on the origin, z to Superior, y to Posterior, x to Left."""
        step = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (3,))
        affine = np.zeros((4, 4))
        affine[[2, 1, 0], [0, 1, 2]] = step
        affine[3, 3] = 1
        affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
        return cls(tuple(int(n) for n in shape), affine)

    @classmethod
    def from_nifti(cls, affine: NDArray[np.float64], shape: Sequence[int]) -> Grid:
        """The grid of a NIfTI image of ``shape`` (x, y, z): ``affine`` takes a voxel (x, y, z) to RAS in mm."""
        return cls(tuple(shape[::-1]), (_LPS_TO_RAS @ affine)[:, [2, 1, 0, 3]])

    @property
    def nifti_affine(self) -> NDArray[np.float64]:
        """(4, 4) as :meth:`from_nifti` takes it."""
        return np.asarray((_LPS_TO_RAS @ self.affine)[:, [2, 1, 0, 3]])

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along z, y, x in mm."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def directions(self) -> NDArray[np.float64]:
        """(3, 3) unit steps of the tensor axes in LPS, one per column."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing))

    @property
    def shear_degrees(self) -> float:
        """Largest deviation from a right angle between two axes, in degrees (gantry tilt)."""
        d = self.directions
        cosines = [abs(float(d[:, i] @ d[:, j])) for i, j in ((0, 1), (0, 2), (1, 2))]
        return float(np.degrees(np.arcsin(min(1.0, max(cosines)))))

    @property
    def orientation(self) -> str:
        """Nearest patient direction of increasing z, y, x, e.g. ``"SPL"`` for a plain axial scan."""
        found = enumerate(self.patient_axes)
        return "".join(_LETTERS[world][0 if self.directions[world, axis] > 0 else 1] for axis, world in found)

    @property
    def patient_axes(self) -> tuple[int, ...]:
        """The patient axis (L 0, P 1, S 2) nearest to each axis, each once, however oblique the grid."""
        cosines = np.abs(self.directions)
        return max(permutations(range(3)), key=lambda worlds: cosines[worlds, range(3)].sum())

    def _farthest(self, other: Grid) -> float:
        """The largest distance in mm between a corner voxel and that of another grid of the same shape."""
        corners = np.array(list(product(*((0, n - 1) for n in self.shape))))
        return float(np.linalg.norm(self.world(corners) - other.world(corners), axis=1).max())

    def as_rows(self) -> list[list[float]]:
        """The upper three rows of the affine as plain JSON, no voxel a hundredth of itself out of its place."""
        # The error of a step counts once for each voxel along its axis, and voxels may be of nanometres.
        digits = max(4, 3 + math.ceil(math.log10(max(self.shape) / min(self.spacing))))
        return [[round(float(value), digits) for value in row] for row in self.affine[:3]]

    def world(self, index: NDArray[np.float64] | Sequence[float]) -> NDArray[np.float64]:
        """LPS position in mm of a (possibly fractional) voxel index ``(..., 3)`` in z, y, x order."""
        return np.asarray(index) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def cropped(self, slices: slice) -> Grid:
        """The grid of ``tensor[slices]``, a range along z with step 1."""
        start, stop, _ = slices.indices(self.shape[0])
        affine = self.affine.copy()
        affine[:3, 3] = self.world((start, 0, 0))
        return Grid((stop - start, *self.shape[1:]), affine, self.axes)
