"""What the networks of a prior look like from outside; families of plugins bring them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class DenoisingNetwork(Protocol):
    """``F`` of the parametrization table."""

    def __call__(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        """Predict.

        Args:
            x: (batch, channel, *spatial), scaled by the parametrization.
            noise: (batch,), what the parametrization tells of the noise level.
            condition: (batch, size) of :class:`medldm.inference.Conditioning`; zeros where nothing is known.

        Returns:
            (batch, channel, *spatial).
        """
        ...


@runtime_checkable
class Autoencoder(Protocol):
    """Image <-> latent. ``spatial`` shrinks by ``downscale`` along each axis.

    One whose ``decode`` has no derivative, because it quantises, also has ``decode_gradient = False``.

    Attributes:
        downscale: image samples per latent sample, along each axis.
        latent_channels: channels of the latent.
    """

    downscale: int
    latent_channels: int

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the latent of ``x`` = (batch, channel, *spatial)."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """(batch, latent_channels, *latent spatial) -> (batch, channel, *spatial)."""
        ...
