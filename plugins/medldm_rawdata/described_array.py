"""An array of k-space and its description, made into a scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata.kspace_centre import centre_doubts
from medldm_rawdata.kspace_description import KSpaceDescription
from medldm_rawdata.kspace_noise import NoiseScan
from medldm_rawdata.kspace_partitions import slices_or_volume
from medldm_rawdata.kspace_scan import KSpaceScan, Origin, image_shape, require_finite, require_memory, scan_of

# Of the encoded axes, once the array is (z or kz, coil, ky, kx).
_PLACES = {"kz": 0, "ky": 2, "kx": 3}


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
    """Turn an array to slices, or to a volume, with its centre in the middle, and check it.

    Args:
        array: complex; may be a map of a file.
        axes: their names.
        description: of the array.
        format_: name of the reader.
        path: of the file.
        max_bytes: of memory.
        mask: (ky, kx), or (kz, ky, kx); an axis may have length 1.
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
    encoded = [axis for axis in ("kz", "ky", "kx") if axis in named]
    turn = [shifts[axis] for axis in encoded]
    if mask is not None:
        mask = np.roll(
            _points(mask, [array.shape[axes.index(axis)] for axis in encoded], path), turn, tuple(range(len(turn)))
        )
    kspace = np.roll(kspace.astype(np.complex64), turn, [_PLACES[axis] for axis in encoded])
    require_finite(kspace, path.name)
    doubts = centre_doubts(kspace, {axis: _PLACES[axis] for axis in encoded}, shifts)
    if "kz" in named:
        kspace, mask = slices_or_volume(kspace, mask)
    grid, problems = description.grid(image_shape(kspace))
    scan = noise_scan_of(noise, kspace.shape[1], path)
    return scan_of(
        kspace,
        grid,
        Origin(format_, path, problems=(*problems, *doubts)),
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


def _points(mask: NDArray[Any], shape: Sequence[int], path: Path) -> NDArray[np.bool_]:
    """The mask of all encoded axes; one of (ky, kx) holds for every partition."""
    whole = mask[None] if mask.ndim == 2 and len(shape) == 3 else mask
    if whole.ndim != len(shape) or any(m not in (1, n) for m, n in zip(whole.shape, shape, strict=True)):
        raise InputRefused(
            "E-KSP-08",
            f"The mask in {path.name} is {' x '.join(map(str, mask.shape))}, k-space is {' x '.join(map(str, shape))} "
            f"({'kz x ' if len(shape) == 3 else ''}ky x kx).",
            why="It is not known which samples were measured.",
            fix="Store the mask as (ky, kx), or as (kz, ky, kx) where there is kz; an axis that is fully sampled may "
            "have length 1.",
        )
    return np.broadcast_to(whole != 0, shape)


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
