"""Noise levels of a diffusion solver: tensors that decrease and end in zero."""

from __future__ import annotations

import torch
from torch import Tensor


def noise_levels(steps: int, low: float, high: float, rho: float = 7.0) -> Tensor:
    """Levels that fall as a power law (Karras et al. 2022, equation 5).

    Args:
        steps: how many levels above zero.
        low: the last of them.
        high: the first.
        rho: exponent; larger spends more steps at small noise.

    Returns:
        (steps + 1,) float64, decreasing; the first is ``high``, the last but one of several ``low``, the last one 0.

    Raises:
        ValueError: no step, or not ``0 < low <= high``.
    """
    if steps < 1 or not 0 < low <= high:
        raise ValueError(f"noise levels fall in one step or more from above to below, got {steps}, {high} to {low}")
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    levels = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    levels = levels.clamp(low, high)  # the root's power is off by a rounding, and networks know no level beyond
    levels[0] = high
    if steps > 1:
        levels[-1] = low
    return torch.cat((levels, torch.zeros(1, dtype=torch.float64)))
