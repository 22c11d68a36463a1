"""What is required of a measured k-space before it is explained, and what of it was measured."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.data import Acquisition, Grid
from medldm.errors import InputRefused

AXES = ("z", "coil", "ky", "kx")
SHOT_AXES = ("z", "coil", "shot", "sample")


def checked_kspace(acquisition: Acquisition) -> tuple[Tensor, Tensor]:
    """k-space (z, coil, ky, kx) and the sampling mask (ky, kx) of a measurement, see :func:`measured_kspace`.

    Raises:
        InputRefused: E-MRI-04 when k-space is not complex (z, coil, ky, kx); those of :func:`measured_kspace`.
    """
    data = acquisition.data
    if acquisition.axes != AXES or not data.is_complex():
        raise InputRefused(
            "E-MRI-04",
            f"The measurement is {data.dtype} with axes {acquisition.axes}, not complex with axes {AXES}.",
            why="Cartesian k-space is a stack of slices of complex samples per coil.",
            fix="Transform along a third phase-encoding direction first, and name the axes.",
        )
    return measured_kspace(acquisition)


def measured_kspace(acquisition: Acquisition) -> tuple[Tensor, Tensor]:
    """Complex k-space with zeros in place of all that its mask leaves out, NaN too; and that mask of zeros and ones.

    The mask has the precision and the device of k-space. It broadcasts to it: (ky, kx), (shot, sample), or (kz, ky, 1)
    of a volume, whose readouts are whole. A measurement along shots without one was sampled everywhere; slices without
    one where any coil of any slice is not exactly zero, as undersampled k-space is commonly stored.

    Raises:
        InputRefused: E-MRI-04 when the mask has another size or other values, or samples nothing; E-MRI-06 when a
            sample is NaN or infinite; E-MRI-10 when a coil measured nothing; E-ACQ-04 when a volume or slices measured
            together have no mask.
    """
    mask = _checked_mask(acquisition)
    kspace = acquisition.data
    # Readers and simulations leave zeros there: k-space is copied only where something else stands.
    if any(bool(((part != 0) & (mask == 0)).any()) for part in kspace):
        kspace = torch.where(mask != 0, kspace, 0)
    require_finite(kspace)
    _require_signal(kspace.movedim(acquisition.axes.index("coil"), 0))
    return kspace, mask


def require_finite(kspace: Tensor) -> None:
    """Refuse k-space (any axes) with samples that are NaN or infinite.

    Raises:
        InputRefused: E-MRI-06.
    """
    bad = sum(int((~torch.isfinite(part)).sum()) for part in kspace)
    if bad:
        raise InputRefused(
            "E-MRI-06",
            f"{bad} of {kspace.numel()} k-space samples are NaN or infinite.",
            why="The transform would spread them over whole slices.",
            fix="Leave them out: zeros in their place, in k-space or in its mask.",
        )


def _require_signal(kspace: Tensor) -> None:
    """Refuse k-space (coil, ...) with a coil that is zero throughout where others are not: a broken channel.

    Raises:
        InputRefused: E-MRI-10.
    """
    silent = [coil for coil, samples in enumerate(kspace) if not bool((samples != 0).any())]
    if 0 < len(silent) < len(kspace):
        raise InputRefused(
            "E-MRI-10",
            f"{len(silent)} of {len(kspace)} coils measured nothing but zeros: {', '.join(map(str, silent[:8]))}"
            + (", ..." if len(silent) > 8 else "."),
            why="Neither their noise nor their sensitivity is that of a coil, and both would enter the image.",
            fix="Leave these channels out of the measurement.",
        )


def _checked_mask(acquisition: Acquisition) -> Tensor:
    """The mask of :func:`measured_kspace`."""
    data, axes = acquisition.data, acquisition.axes
    shape, names = tuple(data.shape[-2:]), axes[-2:]
    if "kz" in axes:  # readouts are whole
        shape, names = (*data.shape[-3:-1], 1), (*axes[-3:-1], "1")
    if "mask" in acquisition.tensors or axes not in (AXES, SHOT_AXES):
        mask = acquisition.tensor("mask").to(data.device)
    elif axes == SHOT_AXES:
        mask = torch.ones(shape, device=data.device)
    else:
        mask = torch.stack([(part != 0).any(dim=0) for part in data]).any(dim=0)
    if mask.shape != shape:
        raise InputRefused(
            "E-MRI-04",
            f"The mask has {_size(mask)} values, not {' x '.join(map(str, shape))} ({' x '.join(names)}).",
            why="It is not known which samples were measured.",
            fix="Store the mask of this measurement.",
        )
    sampled = mask != 0
    other = mask[sampled & (mask != 1)]
    if other.numel():
        raise InputRefused(
            "E-MRI-04",
            f"{other.numel()} of {mask.numel()} values of the mask are neither zero nor one: {other[0].item():.4g}.",
            why="A mask says which samples were measured; how often or how well, it cannot say.",
            fix="Store ones where k-space was measured and zeros elsewhere.",
        )
    if not bool(sampled.any()):
        raise InputRefused(
            "E-MRI-04",
            "The mask samples nothing at all.",
            why="There is nothing to reconstruct from.",
            fix="Store ones where k-space was measured and zeros elsewhere.",
        )
    return sampled.to(data.real.dtype)


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
