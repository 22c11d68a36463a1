"""The loss of a denoiser: noise levels drawn log-normal, squared error weighted by level."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.training.config import ObjectiveOptions


def draw_sigma(options: ObjectiveOptions, low: float, high: float, uniform: Tensor) -> Tensor:
    """Noise levels from uniform numbers, log-normal (Karras et al. 2022) within the prior's limits.

    Args:
        options: mean and std of the logarithm.
        low: smallest level.
        high: largest level.
        uniform: (batch,) in (0, 1).
    """
    normal = torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6))
    sigma: Tensor = (options.mean + options.std * normal).exp().clamp(low, high)
    return sigma.to(uniform.dtype)


def stratified(batch: int, generator: torch.Generator) -> Tensor:
    """(batch,) uniform numbers, one in each part of (0, 1), in random order: less spread than free draws have."""
    places = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    return places[torch.randperm(batch, generator=generator)]


def loss_weight(options: ObjectiveOptions, sigma: Tensor, sigma_data: float) -> Tensor:
    """Weight of the squared error of the denoised image.

    ``edm``: ``(sigma^2 + s^2) / (sigma s)^2`` makes every level's error one at the start (Karras et al. 2022, table 1).
    ``min-snr``: ``min(s^2 / sigma^2, gamma)`` (Hang et al. 2023, equation 6, for x0).
    """
    if options.weighting == "edm":
        return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return (sigma_data / sigma).square().clamp(max=options.gamma)


def denoising_loss(
    denoised: Tensor, clean: Tensor, sigma: Tensor, sigma_data: float, options: ObjectiveOptions
) -> Tensor:
    """(batch,) weighted mean squared errors."""
    each = (denoised - clean).square().flatten(1).mean(1)
    return loss_weight(options, sigma, sigma_data) * each
