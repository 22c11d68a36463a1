"""The slice autoencoder: diffusers' AutoencoderKL, small enough for a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from pydantic import Field
from torch import Tensor, nn

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class SliceAutoencoderOptions:
    """Options of :class:`SliceAutoencoder`.

    Attributes:
        channels: of the image: 1 for a slice, more for slabs or real and imaginary part.
        latent_channels: of the latent.
        widths: feature channels per level, finest first; each level but the last halves the image.
        layers: residual blocks per level of the encoder; the decoder has one more.
        groups: of the normalisation; divides every width.
        attention: attention at the lowest level.
    """

    channels: Positive = 1
    latent_channels: Positive = 4
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (32, 64, 64)
    layers: Positive = 1
    groups: Positive = 16
    attention: bool = False

    def __post_init__(self) -> None:
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"widths {list(self.widths)} do not divide into {self.groups} groups")


class SliceAutoencoder(nn.Module):
    """A :class:`medldm.inference.Autoencoder` of slices (batch, channel, y, x).

    y and x are multiples of ``downscale``. The default has 0.9 million parameters.
    """

    def __init__(self, options: SliceAutoencoderOptions) -> None:
        super().__init__()
        self.options = options
        self.latent_channels = options.latent_channels
        self.downscale = int(2 ** (len(options.widths) - 1))
        levels = len(options.widths)
        self.vae = AutoencoderKL(
            in_channels=options.channels,
            out_channels=options.channels,
            latent_channels=options.latent_channels,
            block_out_channels=options.widths,
            layers_per_block=options.layers,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            norm_num_groups=options.groups,
            mid_block_add_attention=options.attention,
        )

    @property
    def multiple(self) -> int:
        """Sizes of y and x must be multiples of this."""
        return self.downscale

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`medldm.inference.Autoencoder`."""
        law = self.vae.encode(x, return_dict=False)[0]
        return law.mean, law.logvar

    def decode(self, z: Tensor) -> Tensor:
        """See :class:`medldm.inference.Autoencoder`."""
        image: Tensor = self.vae.decode(z, return_dict=False)[0]
        return image
