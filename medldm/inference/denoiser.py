"""A network and its parametrization: the denoiser of images of any size that the network takes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from medldm.inference.parametrization import Parametrization


class Denoiser(nn.Module):
    """``D(x, sigma | condition) = E[x0 | x0 + sigma n = x]``.

    The gradient mode is the caller's: a solver that differentiates through the denoiser can.

    Args:
        network: a :class:`medldm.inference.DenoisingNetwork` that is a module.
        parametrization: what the network predicts.
        autocast: run the network in bfloat16 on CUDA; the skip connection stays in the precision of ``x``. The error
            of the network's output, about 0.4 %, is scaled by ``out(sigma)``, which vanishes with the noise in every
            row of the table but ``x0``.
    """

    def __init__(self, network: nn.Module, parametrization: Parametrization, *, autocast: bool = True) -> None:
        super().__init__()
        self.network = network
        self.parametrization = parametrization
        self.autocast = autocast

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        """Denoise.

        Args:
            x: (batch, channel, *spatial), in the prior's units.
            sigma: (batch,).
            condition: (batch, size), zeros where nothing is known.

        Returns:
            Of the shape and dtype of ``x``; the network runs in the precision of its weights.
        """
        weights = weights_dtype(self.network, x.dtype)
        # Levels up to 999 are not told apart in half precision.
        told = torch.float64 if weights == torch.float64 else torch.float32

        def predict(scaled: Tensor, noise: Tensor) -> Tensor:
            with bfloat16_on_cuda(x.device, self.autocast):
                predicted: Tensor = self.network(scaled.to(weights), noise.to(told), condition.to(weights))
            return predicted.to(x.dtype)

        return self.parametrization.denoised(predict, x, sigma)


def bfloat16_on_cuda(device: torch.device, wanted: bool) -> AbstractContextManager[object]:
    """Autocast on CUDA, whatever the caller's own autocast says; nothing on other devices."""
    return torch.autocast("cuda", torch.bfloat16, enabled=wanted) if device.type == "cuda" else nullcontext()


def weights_dtype(network: nn.Module, default: torch.dtype) -> torch.dtype:
    """The precision of a network's weights; ``default`` where it has none."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), default)
