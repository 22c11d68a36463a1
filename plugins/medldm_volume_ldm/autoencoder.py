"""The volume autoencoder: MONAI's AutoencoderKL in three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from monai.networks.nets.autoencoderkl import AutoencoderKL
from pydantic import Field
from torch import Tensor, nn

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class VolumeAutoencoderOptions:
    """Options of :class:`VolumeAutoencoder`.

    Attributes:
        channels: of the image.
        latent_channels: of the latent.
        widths: feature channels per level, finest first, multiples of ``groups``; each level after the first halves
            the volume.
        layers: residual blocks per level.
        groups: of the normalisation.
        attention: self-attention at the lowest level; its memory grows with the square of the latent voxels.
    """

    channels: Positive = 1
    latent_channels: Positive = 4
    widths: tuple[Positive, ...] = (16, 32, 32)
    layers: Positive = 1
    groups: Positive = 8
    attention: bool = False

    def __post_init__(self) -> None:
        if not self.widths or any(width % self.groups for width in self.widths):
            raise ValueError(f"widths {self.widths} are multiples of groups, {self.groups}")


class VolumeAutoencoder(nn.Module):
    """A :class:`medldm.inference.Autoencoder` of volumes (batch, channel, z, y, x) (Rombach et al. 2022)."""

    def __init__(self, options: VolumeAutoencoderOptions) -> None:
        super().__init__()
        self.options = options
        self.downscale = int(2 ** (len(options.widths) - 1))
        self.latent_channels = options.latent_channels
        self.kl = AutoencoderKL(
            spatial_dims=3,
            in_channels=options.channels,
            out_channels=options.channels,
            num_res_blocks=options.layers,
            channels=options.widths,
            attention_levels=(False,) * len(options.widths),
            latent_channels=options.latent_channels,
            norm_num_groups=options.groups,
            with_encoder_nonlocal_attn=options.attention,
            with_decoder_nonlocal_attn=options.attention,
        )

    @property
    def multiple(self) -> int:
        """Sizes of z, y and x must be multiples of this."""
        return self.downscale

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`medldm.inference.Autoencoder`."""
        mean, std = self.kl.encode(x)
        return mean, 2 * std.log()

    def decode(self, z: Tensor) -> Tensor:
        """See :class:`medldm.inference.Autoencoder`."""
        return self.kl.decode(z)
