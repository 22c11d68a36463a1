"""An array of k-space and its description, made into a scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata.kspace_description import KSpaceDescription
from medldm_rawdata.kspace_noise import NoiseScan
from medldm_rawdata.kspace_scan import KSpaceScan, Origin, require_finite, require_memory, scan_of
from medldm_rawdata.kspace_transform import to_image


def described_scan(
    array: NDArray[Any],
    axes: Sequence[str],
    description: KSpaceDescription,
    format_: str,
    path: Path,
    max_bytes: int,
    *,
    mask: NDArray[Any] | None = None,
    noise: NDArray[Any] | None = None,
) -> KSpaceScan:
    """Turn an array to (z, coil, ky, kx) with its centre in the middle, and check it.

    Args:
        array: complex; may be a map of a file.
        axes: their names.
        description: of the array.
        format_: name of the reader.
        path: of the file.
        max_bytes: of memory.
        mask: (ky, kx), or of one of them.
        noise: (coil, sample).

    Raises:
        InputRefused: E-KSP-05, -07, -08, -10 and those of :func:`scan_of`.
    """
    require_complex(array, axes, path)
    require_memory(array.shape, max_bytes, path.name)
    order = [axes.index(name) for name in ("z", "kz", "coil", "ky", "kx") if name in axes]
    kspace = np.transpose(array, order)
    named = [name for name in ("z", "kz", "coil", "ky", "kx") if name in axes]
    if "coil" not in named:
        kspace = kspace[..., None, :, :]
    if "z" not in named and "kz" not in named:
        kspace = kspace[None]
    # Shifted by whole samples: the frequencies of a grid repeat with its length.
    shifts = _shifts(description, dict(zip(("kz", "coil", "ky", "kx"), kspace.shape, strict=True)), path)
    kspace = np.roll(kspace.astype(np.complex64), [shifts["ky"], shifts["kx"]], axis=(-2, -1))
    if mask is not None:
        mask = np.roll(_plane(mask, kspace.shape[-2:], path), [shifts["ky"], shifts["kx"]], axis=(-2, -1))
    require_finite(kspace, path.name)
    if "kz" in named:
        kspace = _slices_of(np.roll(kspace, shifts["kz"], axis=0), path)
    grid, problems = description.grid((kspace.shape[0], kspace.shape[2], kspace.shape[3]))
    scan = noise_scan_of(noise, kspace.shape[1], path)
    return scan_of(
        kspace,
        grid,
        Origin(format_, path, problems=problems),
        mask=mask,
        noise=scan if description.noise_std is None else description.noise_std,
        simulated=description.simulated,
    )


def require_complex(array: NDArray[Any], axes: Sequence[str], path: Path) -> None:
    """Refuse an array that is not complex or has other axes than its description names, under E-KSP-08."""
    if array.ndim != len(axes) or array.dtype.kind != "c":
        raise InputRefused(
            "E-KSP-08",
            f"The array in {path.name} is {array.dtype} of {' x '.join(map(str, array.shape))}; its description names "
            f"{len(axes)} axes of complex samples: {', '.join(axes)}.",
            why="It is not known what its numbers are.",
            fix="Store complex numbers, and name each axis once.",
        )


def _shifts(description: KSpaceDescription, sizes: dict[str, int], path: Path) -> dict[str, int]:
    shifts = {}
    for axis in ("kz", "ky", "kx"):
        n, centre = sizes[axis], getattr(description.centre, axis)
        if centre is not None and centre >= n:
            raise InputRefused(
                "E-KSP-05",
                f"centre.{axis} is {centre}, but {path.name} has {n} samples along {axis}.",
                why="Frequency zero lies among the samples.",
                fix="Give its index, counted from 0; n // 2 where nothing is stated.",
            )
        shifts[axis] = 0 if centre is None else n // 2 - centre
    return shifts


def _plane(mask: NDArray[Any], shape: tuple[int, ...], path: Path) -> NDArray[np.bool_]:
    if mask.ndim != 2 or any(m not in (1, n) for m, n in zip(mask.shape, shape, strict=True)):
        raise InputRefused(
            "E-KSP-08",
            f"The mask in {path.name} is {' x '.join(map(str, mask.shape))}, k-space is {shape[0]} x {shape[1]} "
            "(ky x kx).",
            why="It is not known which samples were measured.",
            fix="Store the mask as (ky, kx); an axis that is fully sampled may have length 1.",
        )
    return np.broadcast_to(mask != 0, shape)


def _slices_of(kspace: NDArray[np.complex64], path: Path) -> NDArray[np.complex64]:
    """Slices of a volume that is fully sampled along kz, the first axis."""
    filled = (kspace != 0).any(axis=1)
    if not (filled == filled[:1]).all():
        raise InputRefused(
            "E-KSP-07",
            f"{path.name} is undersampled along kz.",
            why="Only a fully sampled partition direction can be transformed into slices.",
            fix="Choose the axis that is fully sampled as kz, or name another order of axes.",
        )
    return to_image(kspace, 0)


def noise_scan_of(noise: NDArray[Any] | None, coils: int, path: Path) -> NoiseScan | None:
    """The noise samples (coil, sample) beside an array, if any; refused under E-KSP-12 where they do not fit it."""
    if noise is None:
        return None
    if noise.ndim != 2 or noise.shape[0] != coils or noise.dtype.kind != "c":
        raise InputRefused(
            "E-KSP-12",
            f"The noise in {path.name} is {noise.dtype} of {' x '.join(map(str, noise.shape))} for {coils} coils.",
            why="It is not known which coil is which.",
            fix="Store complex noise samples as (coil, sample).",
        )
    return NoiseScan(noise.astype(np.complex64))
