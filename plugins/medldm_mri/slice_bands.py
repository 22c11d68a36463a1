"""Slices measured at the same time: what the receiver sees is their sum (simultaneous multi-slice, multiband).

    y_g = M sum_b P_b k_(b n / B + g)          b = 0 ... B - 1

B slices far apart are excited together. Controlled aliasing (CAIPI; Breuer et al. 2005, doi:10.1002/mrm.20401;
Setsompop et al. 2012, doi:10.1002/mrm.23097) gives slice b a phase that grows from line to line,
``P_b = exp(-2 pi i b ky / s)``:
it is shifted by ``b / s`` of the field of view, so that voxels which add up are seen differently by the coils.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medldm.operators import LinearOperator, Space

PAPERS = (
    "F. A. Breuer, M. Blaimer, R. M. Heidemann, M. F. Mueller, M. A. Griswold, P. M. Jakob. Controlled aliasing in "
    "parallel imaging results in higher acceleration (CAIPIRINHA) for multi-slice imaging. Magnetic Resonance in "
    "Medicine 53(3), 684-691, 2005.",
    "K. Setsompop, B. A. Gagoski, J. R. Polimeni, T. Witzel, V. J. Wedeen, L. L. Wald. Blipped-controlled aliasing in "
    "parallel imaging for simultaneous multislice echo planar imaging with reduced g-factor penalty. Magnetic "
    "Resonance in Medicine 67(5), 1210-1224, 2012.",
)


class SliceBands(LinearOperator):
    """k-space of single slices (z, coil, ky, kx) -> of slices measured together (group, coil, ky, kx), complex.

    Args:
        shape: (z, coil, ky, kx).
        mask: sampling weights (ky, kx), real.
        bands: B, slices measured together; z is a multiple of it.
        shift: s, the field of view over the shift of neighbouring bands along y; 1 shifts none.
        dtype: complex64 or complex128.
    """

    weights: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        mask: Tensor,
        *,
        bands: int,
        shift: int,
        dtype: torch.dtype = torch.complex64,
    ) -> None:
        super().__init__()
        slices, coils, ny, nx = shape
        if slices % bands or tuple(mask.shape) != (ny, nx):
            raise ValueError(f"{slices} slices of {ny} x {nx}, {bands} bands and mask {tuple(mask.shape)} do not fit")
        self.bands = bands
        self.domain = Space(("z", "coil", "ky", "kx"), shape, dtype)
        self.codomain = Space(("group", "coil", "ky", "kx"), (slices // bands, coils, ny, nx), dtype)
        line = torch.arange(ny, dtype=torch.float64) - ny // 2
        turns = torch.outer(torch.arange(bands, dtype=torch.float64), line) / shift % 1
        phases = torch.exp(-2j * math.pi * turns)
        self.register_buffer("weights", (phases[:, :, None] * mask.cpu()).to(dtype).to(mask.device))

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_zeros((*self.domain.batch_shape(x), *self.codomain.shape))
        for weights, band in zip(self.weights, x.chunk(self.bands, dim=-4), strict=True):
            y += weights * band
        return y

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.cat([weights.conj() * y for weights in self.weights], dim=-4)
