"""Where the slices of k-space lie in the patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medldm.data import Grid
from medldm.errors import InputRefused, Problem

_Vector = NDArray[np.float64]

NOT_STATED = Problem(
    "E-KSP-21",
    "warning",
    "The file does not say where the slices lie in the patient; left and right of the image are not known.",
    "Take the orientation from a reconstruction of the scanner.",
)


def nominal_grid(shape: Sequence[int], spacing: Sequence[float]) -> Grid:
    """A grid about the origin for a measurement that states no orientation; say :data:`NOT_STATED` with it.

    Args:
        shape: (z, y, x).
        spacing: in mm, of the same axes.

    Raises:
        InputRefused: E-KSP-15 when a spacing is not a positive number.
    """
    if not all(np.isfinite(step) and step > 0 for step in spacing):
        raise InputRefused(
            "E-KSP-15",
            f"The voxel size {tuple(map(float, spacing))} mm (z, y, x) is not usable.",
            why="Distances in the image would mean nothing.",
            fix="Repair the field of view in the header.",
        )
    return Grid.isotropic(shape, spacing)


def stack_order(positions: NDArray[np.float64], normal: _Vector) -> list[int]:
    """Indices of the slices from low to high along the normal."""
    return [int(i) for i in np.argsort(positions @ normal, kind="stable")]


def stack_grid(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    positions: NDArray[np.float64],
    directions: tuple[_Vector, _Vector, _Vector],
    name: str,
) -> Grid:
    """The grid of parallel slices.

    The position of a slice is where the gradients are zero in it: voxel ``n // 2``, the centre of the transform.

    Args:
        shape: (z, y, x).
        spacing: of one slice in mm: thickness, step along y, step along x.
        positions: (z, 3), LPS in mm, in the order of the slices.
        directions: unit steps along z, y, x in LPS.
        name: of the file, for the messages.

    Raises:
        InputRefused: E-KSP-15 when the slices are no evenly spaced stack or the directions no right angles.
    """
    nominal_grid(shape, spacing)
    frame = np.stack(directions, axis=1)
    if not np.isfinite(frame).all() or not np.allclose(frame.T @ frame, np.eye(3), atol=1e-3):
        raise _refused(name, "the directions of readout, phase encoding and slice are not at right angles")
    if not np.isfinite(positions).all():
        raise _refused(name, "a slice position is NaN or infinite")
    step = directions[0] * spacing[0]
    if shape[0] > 1:
        step = (positions[-1] - positions[0]) / (shape[0] - 1)
        distance = float(np.linalg.norm(step))
        if distance < 1e-3:
            raise _refused(name, f"its {shape[0]} slices are in one place")
        uneven = np.linalg.norm(positions - positions[0] - np.arange(shape[0])[:, None] * step, axis=1).max()
        if uneven > max(0.01, 0.01 * distance):
            raise _refused(name, f"its slices are up to {uneven:.3g} mm from even steps of {distance:.3g} mm")
    affine = np.eye(4)
    affine[:3, :3] = np.stack([step, directions[1] * spacing[1], directions[2] * spacing[2]], axis=1)
    affine[:3, 3] = positions[0] - affine[:3, 1] * (shape[1] // 2) - affine[:3, 2] * (shape[2] // 2)
    return Grid(shape, affine)


def _refused(name: str, fault: str) -> InputRefused:
    return InputRefused(
        "E-KSP-15",
        f"The slices of {name} are no regular stack: {fault}.",
        why="A volume has evenly spaced parallel slices, and geometry is not guessed.",
        fix="Export each stack to a file of its own.",
    )
