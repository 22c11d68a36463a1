"""What is required of k-space measured along a trajectory before it is explained."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medldm.data import Acquisition, Grid
from medldm.errors import InputRefused
from medldm_mri.kspace import SHOT_AXES, measured_kspace

# Points may lie outside the grid's k-space by this share: rounded positions, gradients that overshoot a little.
_BEYOND = 0.02
# A trajectory that covers less than this share of it is one in other units, or the grid is far too fine for it.
_LEAST_COVERED = 1 / 16


def checked_shots(acquisition: Acquisition, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """k-space (z, coil, shot, sample), its mask (shot, sample), and its trajectory (shot, sample, 2).

    The trajectory is in 1/mm, float64 on the CPU; k-space and mask are those of
    :func:`medldm_mri.kspace.measured_kspace`.

    Raises:
        InputRefused: E-MRI-04 k-space is not complex (z, coil, shot, sample); E-MRI-05 the image grid does not fit;
            E-ACQ-04 no trajectory; E-MRI-09 a trajectory of other sizes; E-MRI-08 one in other units; those of
            :func:`medldm_mri.kspace.measured_kspace`.
    """
    data = acquisition.data
    if acquisition.axes != SHOT_AXES or not data.is_complex():
        raise InputRefused(
            "E-MRI-04",
            f"The measurement is {data.dtype} with axes {acquisition.axes}, not complex with axes {SHOT_AXES}.",
            why="Along a trajectory k-space is a stack of slices of complex samples per coil and shot.",
            fix="Transform along a Cartesian third direction first, and name the axes.",
        )
    if grid.shape[0] != data.shape[0]:
        raise InputRefused(
            "E-MRI-05",
            f"The image grid has {grid.shape[0]} slices, k-space has {data.shape[0]}.",
            why="Every slice is measured by itself.",
            fix="Reconstruct on the grid of the measurement: operator.grid: native.",
        )
    kspace, mask = measured_kspace(acquisition)
    trajectory = acquisition.tensor("trajectory").detach().double().cpu()
    if trajectory.shape != (*data.shape[-2:], 2):
        raise InputRefused(
            "E-MRI-09",
            f"The trajectory has {' x '.join(map(str, trajectory.shape))} numbers, k-space has "
            f"{data.shape[-2]} shots of {data.shape[-1]} samples.",
            why="Every sample needs its ky and kx.",
            fix="Store the trajectory as (shot, sample, 2): ky and kx in 1/mm.",
        )
    _require_units(trajectory, grid)
    return kspace, mask, trajectory


def _require_units(trajectory: Tensor, grid: Grid) -> None:
    """Refuse points outside the k-space that the grid represents, and guess at the unit they are in."""
    bad = int((~torch.isfinite(trajectory)).sum())
    if bad:
        raise InputRefused(
            "E-MRI-09",
            f"{bad} numbers of the trajectory are NaN or infinite.",
            why="It is not known where these samples were measured.",
            fix="Give them any place and a mask of zero.",
        )
    spacing = torch.tensor(grid.spacing[1:], dtype=torch.float64)
    cycles = (trajectory.abs() * spacing).flatten(0, 1).amax(0)  # per voxel; the grid represents 1/2
    reach = float(cycles.max())
    if 0.5 * _LEAST_COVERED <= reach <= 0.5 * (1 + _BEYOND):
        return
    limits = " and ".join(f"{0.5 / float(d):.4g}" for d in spacing)
    raise InputRefused(
        "E-MRI-08",
        f"The trajectory reaches {reach:.3g} cycles per voxel; the image grid represents 0.5"
        + (", which is far more." if reach < 0.5 else "."),
        why=f"Trajectories are in 1/mm (cycles per millimetre), here up to {limits} along y and x. "
        f"{_guess(trajectory, grid)}",
        fix="Convert the trajectory, or correct the voxel size of the grid.",
    )


def _guess(trajectory: Tensor, grid: Grid) -> str:
    largest = float(trajectory.abs().max())
    sizes = {
        "cycles per field of view": max(grid.shape[1:]) / 2,
        "cycles per voxel": 0.5,
        "radians per voxel": math.pi,
        "radians per millimetre": math.pi / min(grid.spacing[1:]),
        "1/m": 500 / min(grid.spacing[1:]),
        "1/cm": 5 / min(grid.spacing[1:]),
    }
    name, size = min(sizes.items(), key=lambda item: abs(math.log(max(largest, 1e-30) / item[1])))
    close = 0.85 < largest / size < 1.05
    return f"Its largest number is {largest:.4g}" + (f", as in {name}." if close else ".")
