"""A second phase encoding: transformed away where it is sampled in full, kept where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm_rawdata.kspace_sampling import CHANCE
from medldm_rawdata.kspace_transform import to_image


def slices_or_volume(
    kspace: NDArray[np.complex64], stated: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.complex64], NDArray[np.bool_] | None]:
    """Slices (z, coil, ky, kx) where all partitions were sampled alike, else the volume (1, coil, kz, ky, kx).

    Along kz the slices are an orthonormal transform, so noise keeps its standard deviation.

    Args:
        kspace: (kz, coil, ky, kx), finite, frequency zero at ``n // 2``; it is overwritten.
        stated: mask (kz, ky, kx) that came with it, if any.

    Returns:
        k-space, and the mask of its last axes where one was stated.
    """
    filled = np.stack([plane.any(axis=0) for plane in kspace])
    if stated is not None:
        filled &= stated
    if not _alike(filled):
        return kspace.transpose(1, 0, 2, 3)[None], stated
    for coil in range(kspace.shape[1]):
        kspace[:, coil] = to_image(kspace[:, coil], 0)
    return kspace, None if stated is None else np.asarray(stated.any(axis=0), dtype=bool)


def central_slices(block: NDArray[np.complex64], partitions: int) -> NDArray[np.complex64]:
    """Slices of a block (kz, coil, ky, kx) of central partitions, as smooth along z as so few of them make it."""
    first = partitions // 2 - len(block) // 2
    whole = np.zeros((partitions, *block.shape[1:]), dtype=np.complex64)
    whole[first : first + len(block)] = block
    return to_image(whole, 0)


def _alike(filled: NDArray[np.bool_]) -> bool:
    """Whether the same readouts were measured in each partition (kz, ky, kx), and the same samples of them."""
    readouts, together = np.asarray(filled.any(axis=-1)), np.asarray(filled.any(axis=0))
    if not together.any():
        return True
    least: Any = filled[:, together].mean(axis=1).min()
    return bool((readouts == readouts[0]).all() and least >= 1 - CHANCE)
