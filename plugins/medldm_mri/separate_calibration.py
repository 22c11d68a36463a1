"""Calibration lines that were measured apart from the image, for its coil maps and for nothing else.

Scanners measure them before or after the image, often with another contrast. Coil maps do not mind, since they are what
the coils see of any object in the same place; so the lines never enter the likelihood. The image may then be
undersampled evenly, without a centre of its own. Its lines do not tell maps from folded signal then, so JSENSE has
nothing to go on from: at four times it turned maps that leave an error of 7 % into ones that leave 60 %.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from medldm.data import Acquisition
from medldm.errors import InputRefused
from medldm_mri.calibration import LEAST, calibration_region
from medldm_mri.kspace import require_finite

TENSOR = "calibration"


def separate_calibration(acquisition: Acquisition, whole: Collection[str]) -> Tensor | None:
    """The fully sampled block of a measurement around frequency zero, if it comes with one.

    It has the axes of the measurement, its steps in k-space, and frequency zero at index ``n // 2`` of its own length.

    Args:
        acquisition: the measurement.
        whole: axes along which the block is as long as the measurement; along others it may be shorter.

    Raises:
        InputRefused: E-MRI-04 it has another size, or fewer than 4 lines; E-MRI-06 it is not finite.
    """
    if TENSOR not in acquisition.tensors:
        return None
    block, sizes = acquisition.tensor(TENSOR), tuple(acquisition.data.shape)
    least = [n if axis in whole else min(LEAST, n) for axis, n in zip(acquisition.axes, sizes, strict=True)]
    fits = block.ndim == len(sizes) and all(a <= m <= n for a, m, n in zip(least, block.shape, sizes, strict=True))
    if not fits or not block.is_complex():
        raise InputRefused(
            "E-MRI-04",
            f"The separate calibration is {block.dtype} of {' x '.join(map(str, block.shape))}; the measurement has "
            f"{' x '.join(map(str, sizes))} samples ({' x '.join(acquisition.axes)}).",
            why="It is the fully sampled centre of the same k-space, of the same coils and slices, with at least "
            f"{LEAST} lines.",
            fix="Store it so, frequency zero at index n // 2, or leave it out.",
        )
    require_finite(block)
    return block.to(acquisition.data.device)


def for_maps(separate: Tensor | None, kspace: Tensor, mask: Tensor) -> Tensor:
    """What coil maps are estimated from (..., ky, kx): the separate block, else the centre of k-space.

    Args:
        separate: of :func:`separate_calibration`, its last two axes those of the mask.
        kspace: the measurement, its last two axes those of the mask.
        mask: not zero where it was sampled.

    Raises:
        InputRefused: E-MRI-02 when there is neither.
    """
    if separate is not None:
        kspace, mask = separate, torch.ones(separate.shape[-2:])
    rows, columns = calibration_region(mask)
    return kspace[..., rows, columns]


def own_centre(mask: Tensor) -> tuple[slice, slice] | None:
    """Where a measurement has a fully sampled centre of its own; None where it has none."""
    try:
        return calibration_region(mask)
    except InputRefused:
        return None


def bytes_of(acquisition: Acquisition) -> int:
    """Memory that it takes beside the measurement, twice while maps are made of it."""
    block = acquisition.tensors.get(TENSOR)
    return 0 if block is None else 2 * block.element_size() * block.numel()
