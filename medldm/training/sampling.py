"""Drawing unconditional samples: Heun's method on the probability flow (Karras et al. 2022, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def heun_samples(denoise: Denoise, start: Tensor, levels: Tensor) -> Tensor:
    """Samples from noise.

    Args:
        denoise: ``D(x, sigma)``, sigma (batch,).
        start: (batch, ...), white noise of unit variance.
        levels: of :func:`noise_levels`.
    """
    x: Tensor = start * float(levels[0])
    for sigma, below in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        slope = (x - denoise(x, _each(x, sigma))) / sigma  # line 4
        euler: Tensor = x + (below - sigma) * slope  # line 5
        if below == 0:
            return euler
        corrected = (euler - denoise(euler, _each(x, below))) / below  # line 7
        x = x + (below - sigma) * 0.5 * (slope + corrected)  # line 8
    return x


def _each(x: Tensor, sigma: float) -> Tensor:
    return torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
