"""Daubechies' orthonormal wavelet transform of every slice."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from medldm.operators import LinearOperator, Space


def daubechies(moments: int) -> list[float]:
    """Low-pass filter with ``2 * moments`` taps, that many vanishing moments and extremal phase (Daubechies 1988).

    By spectral factorisation: the polynomial ``sum_k C(N-1+k, k) y^k``, ``y = (2 - z - 1/z) / 4``, keeps its roots
    inside the unit circle. One moment is the Haar wavelet.
    """
    roots: list[complex] = []
    for y in np.roots([math.comb(moments - 1 + k, k) for k in range(moments)][::-1]):
        middle = 1 - 2 * complex(y)
        root = middle + np.sqrt(middle * middle - 1)
        roots.append(root if abs(root) < 1 else 1 / root)
    taps = np.real(np.poly([-1.0] * moments + roots))
    return [float(t) for t in taps * math.sqrt(2) / taps.sum()]


class WaveletTransform(LinearOperator):
    """Separable 2-D wavelet transform of the last two axes, periodic, orthonormal: its adjoint is its inverse.

    The coefficients are laid out in place, the coarsest approximation in the top left corner. Where a length is odd,
    its last sample is handed to the next level unchanged, which keeps the transform orthonormal for every size.

    Args:
        space: of the image, ``(z, y, x)``.
        moments: vanishing moments of the wavelet, 1 (Haar) to 8.
        levels: of decomposition; fewer where the image is too small to halve that often.
    """

    def __init__(self, space: Space, moments: int = 2, levels: int = 4) -> None:
        super().__init__()
        self.domain = self.codomain = space
        low = daubechies(moments)
        self._low, self._high = low, [(-1) ** k * t for k, t in enumerate(reversed(low))]
        self._sizes = [(space.shape[-2], space.shape[-1])]
        for _ in range(levels):
            ny, nx = self._sizes[-1]
            if min(ny, nx) < 2:
                break
            self._sizes.append(((ny + 1) // 2, (nx + 1) // 2))

    @property
    def coarsest(self) -> tuple[int, int]:
        """Size of the approximation in the top left corner."""
        return self._sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        out = x.clone()
        for ny, nx in self._sizes[:-1]:
            block = out[..., :ny, :nx]
            block.copy_(self._analyse(self._analyse(block, x.ndim - 1), x.ndim - 2))
        return out

    def adjoint(self, y: Tensor) -> Tensor:
        out = y.clone()
        for ny, nx in reversed(self._sizes[:-1]):
            block = out[..., :ny, :nx]
            block.copy_(self._synthesise(self._synthesise(block, y.ndim - 2), y.ndim - 1))
        return out

    def _analyse(self, x: Tensor, dim: int) -> Tensor:
        half, rest = divmod(x.shape[dim], 2)
        even, odd = x.narrow(dim, 0, 2 * half).unflatten(dim, (half, 2)).unbind(dim + 1)
        low, high = torch.zeros_like(even), torch.zeros_like(even)
        for j in range(len(self._low) // 2):
            for tap, samples in ((2 * j, even), (2 * j + 1, odd)):
                shifted = samples.roll(-j, dim) if j else samples
                low.add_(shifted, alpha=self._low[tap])
                high.add_(shifted, alpha=self._high[tap])
        return torch.cat([low, x.narrow(dim, 2 * half, rest), high], dim)

    def _synthesise(self, c: Tensor, dim: int) -> Tensor:
        half, rest = divmod(c.shape[dim], 2)
        low, high = c.narrow(dim, 0, half), c.narrow(dim, half + rest, half)
        even, odd = torch.zeros_like(low), torch.zeros_like(low)
        for j in range(len(self._low) // 2):
            moved_low, moved_high = (low.roll(j, dim), high.roll(j, dim)) if j else (low, high)
            for tap, samples in ((2 * j, even), (2 * j + 1, odd)):
                samples.add_(moved_low, alpha=self._low[tap]).add_(moved_high, alpha=self._high[tap])
        pairs = torch.stack([even, odd], dim + 1).flatten(dim, dim + 1)
        return torch.cat([pairs, c.narrow(dim, half, rest)], dim)
