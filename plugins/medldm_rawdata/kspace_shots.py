"""One k-space measured along a trajectory, checked, as every reader of such k-space hands it over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medldm.data import Grid
from medldm.errors import InputRefused, Problem
from medldm_rawdata.kspace_noise import NoiseScan, with_known_noise
from medldm_rawdata.kspace_sampling import sampled_points
from medldm_rawdata.kspace_scan import KSpaceScan, Origin, acquired, speaking_coils
from medldm_rawdata.shot_sampling import acceleration, are_spokes
from medldm_rawdata.trajectory_units import Scale, reach

_AXES = ("z", "coil", "shot", "sample")
# The image's k-space, and a little for rounding; the physics takes no more.
_EDGE = 1.02
# Frequency zero must be as near as this to a sample, in steps 1 / field of view: without it there is no brightness.
_NEAR = 2.0
# A trajectory within this share of the image's k-space along an axis measures nothing along it.
_NARROW = 0.05


@dataclass(frozen=True, eq=False)
class ShotScan(KSpaceScan):
    """A measurement along a trajectory."""

    def sampling(self) -> str:
        """See :class:`KSpaceScan`."""
        told = self.acquisition.settings
        return (
            f"acceleration {told['acceleration']:.3g} ({told['shots_are']}), "
            f"reaching {told['reach']:.3g} of the image's k-space"
        )


def shots_of(
    kspace: NDArray[np.complex64],
    trajectory: NDArray[np.float64],
    scale: Scale,
    grid: Grid,
    origin: Origin,
    *,
    mask: NDArray[np.bool_] | None = None,
    noise: NoiseScan | float | None = None,
    averages: int = 1,
    simulated: bool = False,
) -> ShotScan:
    """Check a k-space along a trajectory and give it the form that the physics ``mri-nonuniform`` expects.

    Args:
        kspace: (z, coil, shot, sample), finite, zeros where nothing was measured.
        trajectory: (shot, sample, 2), ky and kx along the rows and columns of the image, in the file's unit; of samples
            that were not measured anything.
        scale: what makes 1/mm of it, told the points that were measured.
        grid: of the image.
        origin: where it came from.
        mask: (shot, sample) if stated.
        noise: see :func:`medldm_rawdata.kspace_scan.scan_of`.
        averages: measurements that each sample is the mean of; the noise scan had one.
        simulated: whether it was computed from an image.

    Raises:
        InputRefused: E-KSP-11, -16, -18, -40, -41.
    """
    name, spacing = origin.path.name, grid.spacing[1:]
    alive, silent = speaking_coils(kspace)
    kspace, noise = kspace[:, alive], noise.of_coils(alive) if isinstance(noise, NoiseScan) else noise
    problems = [*origin.problems, *silent]
    points, outside = sampled_points(kspace, mask, name)
    problems += outside
    _require_numbers(trajectory[points], name)
    factors, told = scale(trajectory[points])
    problems += told
    places = np.where(points[..., None], trajectory * factors, 0.0)
    _require_extent(places[points], grid, name)
    within = (2 * np.abs(places) * spacing).max(axis=-1) <= _EDGE
    if not within.all():
        problems.append(_left_out(int((points & ~within).sum()), int(points.sum())))
        points, places = points & within, np.where(within[..., None], places, 0.0)
    radius = np.linalg.norm(places * spacing, axis=-1)
    kspace, std, known, doubts = with_known_noise(kspace * points, points, noise, averages, radius)
    problems += doubts
    steps = places * (np.asarray(spacing) * grid.shape[1:])
    settings = {
        "coils": int(kspace.shape[1]),
        "shots": int(points.any(axis=1).sum()),
        "shots_are": "spokes" if are_spokes(steps, points) else "curves",
        "acceleration": round(acceleration(steps, points), 4),
        "reach": round(float(reach(places, spacing).max()), 4),
        "noise": known,
        "averages": averages,
    }
    data = torch.from_numpy(np.ascontiguousarray(kspace, dtype=np.complex64))
    tensors = {
        "trajectory": torch.from_numpy(np.ascontiguousarray(places, dtype=np.float64)),
        "mask": torch.from_numpy(points.astype(np.float32)),
    }
    acquisition = acquired(
        "mri-nonuniform", data, _AXES, grid, origin, tensors, settings, problems, std, simulated=simulated
    )
    return ShotScan(acquisition, tuple(problems), origin.case)


def _require_numbers(points: NDArray[np.float64], name: str) -> None:
    bad = int((~np.isfinite(points)).any(axis=-1).sum())
    if bad:
        raise unusable(name, f"{bad} of {len(points)} measured samples have a place that is NaN or infinite")
    if not np.ptp(points, axis=0).any():
        raise unusable(name, "all samples were measured in one place")


def _require_extent(points: NDArray[np.float64], grid: Grid, name: str) -> None:
    spacing = np.asarray(grid.spacing[1:])
    extent = np.ptp(points, axis=0) * spacing  # in units of the image's whole k-space
    if extent.min() < _NARROW:
        raise unusable(name, f"all samples lie on one line, along k{'xy'[int(extent.argmin())]}")
    nearest = float(np.linalg.norm(points * spacing * grid.shape[1:], axis=-1).min())
    if nearest > _NEAR:
        raise unusable(name, f"the sample nearest to frequency zero is {nearest:.3g} steps (1 / field of view) away")


def unusable(name: str, fault: str) -> InputRefused:
    """The refusal of a trajectory that cannot be."""
    return InputRefused(
        "E-KSP-41",
        f"The trajectory of {name} cannot be used: {fault}.",
        why="A sample at a wrong place in k-space spreads over the whole image.",
        fix="Export the trajectory again: ky and kx of every sample. What was not measured is zero in k-space.",
    )


def _left_out(outside: int, measured: int) -> Problem:
    return Problem(
        "E-KSP-43",
        "warning",
        f"{outside} of {measured} samples ({outside / measured:.2g} of all) lie beyond the frequencies that the image "
        "has, and are left out.",
        "A finer image takes them in: more voxels over the same field of view.",
    )
