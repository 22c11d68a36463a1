"""An array of k-space along a trajectory and its description, made into a scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata.described_array import noise_scan_of, require_complex
from medldm_rawdata.kspace_description import KSpaceDescription
from medldm_rawdata.kspace_scan import Origin, require_finite, require_memory
from medldm_rawdata.kspace_shots import ShotScan, shots_of
from medldm_rawdata.trajectory_units import stated

_ORDER = ("z", "coil", "shot", "sample")


def described_shots(
    arrays: dict[str, NDArray[Any]],
    axes: Sequence[str],
    description: KSpaceDescription,
    format_: str,
    path: Path,
    max_bytes: int,
) -> ShotScan:
    """Turn arrays to (z, coil, shot, sample) and a trajectory in 1/mm, and check them.

    Args:
        arrays: ``kspace``, ``trajectory`` (shot, sample, 2) of ky and kx; maybe ``mask`` (shot, sample) and ``noise``
            (coil, sample).
        axes: of k-space, of which ``shot`` and ``sample`` are two.
        description: of the arrays, which says along what trajectory.
        format_: name of the reader.
        path: of the file.
        max_bytes: of memory.

    Raises:
        InputRefused: E-KSP-08, -10, -12 and those of :func:`shots_of`.
    """
    array, matrix, unit = arrays["kspace"], description.matrix, description.unit
    if matrix is None or unit is None:
        raise ValueError("the description names no trajectory")
    require_complex(array, axes, path)
    require_memory(array.shape, max_bytes, path.name)
    kspace = np.transpose(array, [axes.index(name) for name in _ORDER if name in axes])
    if "coil" not in axes:
        kspace = kspace[..., None, :, :]
    if "z" not in axes:
        kspace = kspace[None]
    kspace = np.ascontiguousarray(kspace, dtype=np.complex64)
    require_finite(kspace, path.name)
    size = kspace.shape[-2:]
    trajectory, mask = arrays["trajectory"], arrays.get("mask")
    if trajectory.shape != (*size, 2) or trajectory.dtype.kind != "f":
        raise _misfit(path, "trajectory", trajectory, size, "real numbers (shot, sample, 2): ky and kx of every sample")
    if mask is not None:
        if mask.ndim != 2 or any(m not in (1, n) for m, n in zip(mask.shape, size, strict=True)):
            raise _misfit(path, "mask", mask, size, "(shot, sample); an axis that is fully sampled may have length 1")
        mask = np.broadcast_to(mask != 0, size)
    grid, problems = description.grid((kspace.shape[0], *matrix))
    scan = noise_scan_of(arrays.get("noise"), kspace.shape[1], path)
    return shots_of(
        kspace,
        trajectory.astype(np.float64),
        stated(unit, matrix, grid.spacing[1:], path.name),
        grid,
        Origin(format_, path, problems=problems),
        mask=mask,
        noise=scan if description.noise_std is None else description.noise_std,
        simulated=description.simulated,
    )


def _misfit(path: Path, name: str, array: NDArray[Any], size: tuple[int, ...], needed: str) -> InputRefused:
    return InputRefused(
        "E-KSP-08",
        f"The {name} in {path.name} is {array.dtype} of {' x '.join(map(str, array.shape))}, k-space is {size[0]} "
        f"shots of {size[1]} samples.",
        why="It is not known where, or which, samples were measured.",
        fix=f"Store {needed}.",
    )
