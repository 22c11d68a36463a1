"""Which of NIfTI's transforms places the voxels, turned from RAS to medldm's LPS.

The rule, in this order: the sform when its code is positive; the qform when its code is positive; what the user
assumes (``--assume-orientation RAS``) with the stated voxel size, the volume centred on the origin; else the file is
refused. A transform that is chosen and invalid is refused too: the other one is not a substitute for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medldm.data import Grid
from medldm.errors import InputRefused, Problem, UsageError
from medldm_nifti.header import Header

_WORLD = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
# sform and qform may differ by rounding and by a change of origin below this part of a voxel.
_AGREE_VOXELS = 0.1


@dataclass(frozen=True, eq=False)
class Placement:
    """A grid and how it was found.

    Attributes:
        grid: axes (z, y, x), the stored axes reversed.
        rule: which transform placed it.
        problems: doubts that do not stop the work.
    """

    grid: Grid
    rule: Literal["sform", "qform", "assumed"]
    problems: tuple[Problem, ...] = ()


def assumed(code: str, pixdim: tuple[float, float, float], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """The affine of an axis code such as ``"RAS"``: the directions in which the stored x, y, z increase.

    Raises:
        UsageError: E-NII-16 when the code does not name three different directions.
    """
    letters = code.upper()
    if len(letters) != 3 or sorted(_WORLD.get(c, (-1, 0))[0] for c in letters) != [0, 1, 2]:
        raise UsageError(
            "E-NII-16",
            f"{code!r} is not an orientation.",
            why="It must name where the three stored axes point, one letter of each of R/L, A/P and S/I.",
            fix="Give a code such as RAS, LAS or LPS.",
        )
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(letters):
        world, sign = _WORLD[letter]
        affine[world, axis] = sign * abs(pixdim[axis])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def _require_usable(affine: NDArray[np.float64] | None, rule: str, name: str) -> NDArray[np.float64]:
    reason = ""
    if affine is None:
        reason = "its quaternion or voxel size is impossible"
    elif not np.isfinite(affine).all():
        reason = "it contains NaN or infinity"
    else:
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        # The volume of the cell of unit steps: 1 for right angles, 0 for parallel axes, whatever the voxel size.
        if steps.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / np.where(steps > 0, steps, 1))) < 1e-3:
            reason = "its axes do not span the space"
    if affine is None or reason:
        raise InputRefused(
            "E-NII-12",
            f"The {rule} of {name} is invalid: {reason}.",
            why="Voxels cannot be placed in the patient.",
            fix="Repair the header (for example with nifti_tool), or re-export the scan.",
        )
    return affine


def _disagreement(header: Header) -> tuple[Problem, ...]:
    if header.sform_code <= 0 or header.qform_code <= 0:
        return ()
    if header.qform is None or not np.isfinite(header.qform).all():
        return (Problem("E-NII-13", "warning", "The qform of the file is invalid; its sform is used."),)
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in header.shape], indexing="ij"), -1).reshape(-1, 3)
    difference = header.sform - header.qform
    distance = float(np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1).max())
    if distance <= _AGREE_VOXELS * float(np.linalg.norm(header.sform[:3, :3], axis=0).min()):
        return ()
    return (
        Problem(
            "E-NII-13",
            "warning",
            f"The sform and the qform of the file differ by up to {distance:.3g} mm; the sform is used.",
            "If the qform is right, copy it into the sform.",
        ),
    )


def place(header: Header, name: str, assume: str | None) -> Placement:
    """The grid of a file.

    Args:
        header: of the file.
        name: of the file, for messages.
        assume: axis code to take when the file states no orientation.

    Raises:
        InputRefused: E-NII-11 no orientation stated, E-NII-12 the stated one is invalid.
    """
    rule: Literal["sform", "qform", "assumed"]
    if header.sform_code > 0:
        rule, affine = "sform", _require_usable(header.sform, "sform", name)
    elif header.qform_code > 0:
        rule, affine = "qform", _require_usable(header.qform, "qform", name)
    elif assume is not None:
        stated = assumed(assume, header.pixdim, header.shape)
        rule, affine = "assumed", _require_usable(stated, "voxel size", name)
    else:
        raise InputRefused(
            "E-NII-11",
            f"{name} does not say how it lies in the patient: its sform and qform codes are both 0.",
            why="Left and right could be exchanged without anybody noticing.",
            fix="If you know the orientation, give it with --assume-orientation RAS (or LAS, LPS, ...).",
        )
    grid = Grid.from_nifti(affine, header.shape)
    problems = list(_disagreement(header))
    if not header.unit_known:
        problems.append(Problem("E-NII-19", "note", "The file states no unit of length; mm is taken."))
    if grid.orientation[0] not in "SI":
        plane = "sagittal" if grid.orientation[0] in "LR" else "coronal"
        problems.append(
            Problem(
                "E-NII-23",
                "note",
                f"The slices as stored are {plane} ones; they are reconstructed in that plane.",
                "Reorder the axes of the file when axial slices are meant.",
            )
        )
    return Placement(grid, rule, tuple(problems))
