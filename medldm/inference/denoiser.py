"""A network and its parametrization: the denoiser of images of any size that the network takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from medldm.inference.parametrization import Parametrization
from medldm.inference.precision import bfloat16


class Denoiser(nn.Module):
    """``D(x, sigma | condition) = E[x0 | x0 + sigma n = x]``.

    The gradient mode is the caller's: a solver that differentiates through the denoiser can.

    Args:
        network: a :class:`medldm.inference.DenoisingNetwork` that is a module.
        parametrization: what the network predicts.
        autocast: run networks of single precision in bfloat16 where the device has it, see
            :func:`medldm.inference.precision.bfloat16`; the skip connection stays in the precision of ``x``. The error
            of the network's output, about 0.4 %, is scaled by ``out(sigma)``, which vanishes with the noise in every
            row of the table but ``x0``.
    """

    def __init__(self, network: nn.Module, parametrization: Parametrization, *, autocast: bool = True) -> None:
        super().__init__()
        self.network = network
        self.parametrization = parametrization
        self.autocast = autocast

    @contextmanager
    def in_full_precision(self) -> Iterator[None]:
        """Within the context the network runs in the precision of its weights, on any device."""
        before, self.autocast = self.autocast, False
        try:
            yield
        finally:
            self.autocast = before

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
            with bfloat16(x.device, self.autocast and weights == torch.float32):
                predicted: Tensor = self.network(scaled.to(weights), noise.to(told), condition.to(weights))
            return predicted.to(x.dtype)

        return self.parametrization.denoised(predict, x, sigma)


def weights_dtype(network: nn.Module, default: torch.dtype) -> torch.dtype:
    """The precision of a network's weights; ``default`` where it has none."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), default)
