"""Centred orthonormal transforms of one axis: frequency zero and the middle of the image at index ``n // 2``.

Orthonormal, so that white noise keeps its standard deviation, also where an image is cropped in between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_image(kspace: NDArray[Any], axis: int) -> NDArray[np.complex64]:
    """The inverse transform of one axis."""
    image = np.fft.ifft(np.fft.ifftshift(kspace, axes=axis), axis=axis, norm="ortho")
    return np.fft.fftshift(image, axes=axis).astype(np.complex64, copy=False)


def to_frequency(image: NDArray[Any], axis: int) -> NDArray[np.complex64]:
    """The transform of one axis."""
    kspace = np.fft.fft(np.fft.ifftshift(image, axes=axis), axis=axis, norm="ortho")
    return np.fft.fftshift(kspace, axes=axis).astype(np.complex64, copy=False)


def without_oversampling(kspace: NDArray[Any], axis: int, keep: int) -> NDArray[np.complex64]:
    """k-space of the middle ``keep`` pixels of a fully sampled axis, in place of all of them.

    Args:
        kspace: (z, coil, ky, kx); transformed slice by slice, which bounds the memory.
        axis: of one slice (coil, ky, kx), counted from the end.
        keep: pixels, at most the length of the axis.
    """
    n = kspace.shape[axis]
    first = n // 2 - keep // 2
    kept = [slice(None)] * (kspace.ndim - 1)
    kept[axis] = slice(first, first + keep)
    shape = list(kspace.shape)
    shape[axis] = keep
    result = np.empty(shape, dtype=np.complex64)
    for z, plane in enumerate(kspace):
        result[z] = to_frequency(to_image(plane, axis)[tuple(kept)], axis)
    return result
