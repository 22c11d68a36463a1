"""What is required of a measured Cartesian k-space before it is explained."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.data import Acquisition, Grid
from medldm.errors import InputRefused

AXES = ("z", "coil", "ky", "kx")


def checked_mask(acquisition: Acquisition) -> Tensor:
    """The sampling mask (ky, kx) of a measurement, on its device.

    A measurement without one was sampled where any coil of any slice is not exactly zero, as undersampled k-space is
    commonly stored.

    Raises:
        InputRefused: E-MRI-04 when k-space is not complex (z, coil, ky, kx), or the mask has another size, is negative
            or empty; E-MRI-06 when a sample is NaN or infinite; E-MRI-10 when a coil measured nothing.
    """
    data = acquisition.data
    if acquisition.axes != AXES or not data.is_complex():
        raise InputRefused(
            "E-MRI-04",
            f"The measurement is {data.dtype} with axes {acquisition.axes}, not complex with axes {AXES}.",
            why="Cartesian k-space is a stack of slices of complex samples per coil.",
            fix="Transform along a third phase-encoding direction first, and name the axes.",
        )
    require_finite(data)
    require_signal(data)
    if "mask" in acquisition.tensors:
        mask = acquisition.tensor("mask").to(data.device)
    else:
        mask = torch.stack([(kspace != 0).any(dim=0) for kspace in data]).any(dim=0).to(torch.float32)
    if mask.shape != data.shape[-2:]:
        raise InputRefused(
            "E-MRI-04",
            f"The mask has {_size(mask)} samples (ky x kx), k-space has {_size(data[0, 0])}.",
            why="It is not known which samples were measured.",
            fix="Store the mask of this measurement.",
        )
    if not bool((mask >= 0).all()) or not bool((mask > 0).any()):
        raise InputRefused(
            "E-MRI-04",
            "The mask has negative weights, or samples nothing at all.",
            why="There is nothing to reconstruct from.",
            fix="Store ones where k-space was measured and zeros elsewhere.",
        )
    return mask


def require_finite(data: Tensor) -> None:
    """Refuse k-space (z, coil, ...) with samples that are NaN or infinite.

    Raises:
        InputRefused: E-MRI-06.
    """
    bad = sum(int((~torch.isfinite(kspace)).sum()) for kspace in data)
    if bad:
        raise InputRefused(
            "E-MRI-06",
            f"{bad} of {data.numel()} k-space samples are NaN or infinite.",
            why="The transform would spread them over whole slices.",
            fix="Set them to zero, and the mask to zero in their place.",
        )


def require_signal(data: Tensor) -> None:
    """Refuse k-space (z, coil, ...) with a coil that is zero in all slices where others are not: a broken channel.

    Raises:
        InputRefused: E-MRI-10.
    """
    silent = (~torch.stack([(kspace != 0).flatten(1).any(1) for kspace in data]).any(0)).nonzero().flatten().tolist()
    if 0 < len(silent) < data.shape[1]:
        raise InputRefused(
            "E-MRI-10",
            f"{len(silent)} of {data.shape[1]} coils measured nothing but zeros: {', '.join(map(str, silent[:8]))}"
            + (", ..." if len(silent) > 8 else "."),
            why="Neither their noise nor their sensitivity is that of a coil, and both would enter the image.",
            fix="Leave these channels out of the measurement.",
        )


def checked_maps(acquisition: Acquisition, grid: Grid) -> Tensor:
    """The coil maps (z or 1, coil, y, x) that a measurement holds.

    Raises:
        InputRefused: E-ACQ-04 when there are none, E-MRI-04 when they fit neither the coils nor the image.
    """
    maps, coils = acquisition.tensor("maps"), acquisition.size("coil")
    slices, *plane = grid.shape
    fits = maps.ndim == 4 and maps.shape[0] in (1, slices) and tuple(maps.shape[1:]) == (coils, *plane)
    if not fits or not maps.is_complex():
        raise InputRefused(
            "E-MRI-04",
            f"The coil maps are {maps.dtype} of {_size(maps)}, there are {coils} coils and an image of "
            f"{' x '.join(map(str, grid.shape))} (z, y, x).",
            why="Each coil and slice needs its complex map.",
            fix="Store maps of the size of the image, or estimate them: operator.maps: espirit.",
        )
    return maps.to(acquisition.data.device)


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))
