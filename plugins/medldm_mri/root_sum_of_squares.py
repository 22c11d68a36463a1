"""The combined magnitude of all coils."""

from __future__ import annotations

import torch
from torch import Tensor


def root_sum_of_squares(coils: Tensor) -> Tensor:
    """``sqrt(sum_c |s_c|^2)`` (y, x) of complex (coil, y, x), by real sums in an order that vectorises."""
    return torch.view_as_real(coils).square().sum(dim=0).sum(dim=-1).sqrt()
