"""Smooth fields on a coarse grid brought to the image grid."""

from __future__ import annotations

import torch
from torch import Tensor


def cubic_matrix(points: int, n: int, *, dtype: torch.dtype = torch.complex64) -> Tensor:
    """Matrix (n, points) of cubic convolution (Keys 1981) from ``points`` samples to ``n``, ends on ends."""
    identity = torch.eye(points, dtype=torch.float64)[None, None]
    matrix = torch.nn.functional.interpolate(identity, size=(n, points), mode="bicubic", align_corners=True)
    return matrix[0, 0].to(dtype)


def upsample(field: Tensor, along_y: Tensor, along_x: Tensor) -> Tensor:
    """``(..., points_y, points_x) -> (..., y, x)`` with the two matrices of :func:`cubic_matrix`."""
    return along_y @ (field @ along_x.mT)
