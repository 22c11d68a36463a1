"""Smooth fields on a coarse grid brought to the image grid."""

from __future__ import annotations

import torch
from torch import Tensor


def cubic_matrix(points: int, n: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Matrix (n, points) of cubic convolution from ``points`` samples to ``n``, ends on ends.

    Keys' kernel with a = -1/2 and his continuation beyond the ends (IEEE Trans. ASSP 29, 1153, 1981): exact for
    polynomials of second order where there are three points or more.
    """
    position = torch.linspace(0, points - 1, n, dtype=torch.float64)
    # Columns -1 ... points stand for the samples and one continuation at each end.
    distance = (position[:, None] - torch.arange(-1, points + 1)).abs()
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    extended = torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros(())))
    matrix = extended[:, 1:-1].clone()
    continuation = {1: (1.0,), 2: (2.0, -1.0)}.get(points, (3.0, -3.0, 1.0))
    for place, weight in enumerate(continuation):
        matrix[:, place] += weight * extended[:, 0]
        matrix[:, points - 1 - place] += weight * extended[:, -1]
    return matrix.to(dtype)


def upsample(field: Tensor, along_y: Tensor, along_x: Tensor) -> Tensor:
    """``(..., points_y, points_x) -> (..., y, x)``, real or complex, with two real matrices of :func:`cubic_matrix`."""
    if field.is_complex():
        return torch.complex(upsample(field.real, along_y, along_x), upsample(field.imag, along_y, along_x))
    return along_y @ (field @ along_x.mT)
