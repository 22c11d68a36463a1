"""The slice denoiser: diffusers' UNet2DModel on a folded image, told facts by a vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class SliceUNetOptions:
    """Options of :class:`SliceUNet`.

    Attributes:
        channels: of the image: 1 for a slice, more for slabs, real and imaginary part, or latents.
        widths: feature channels per level, finest first; each level halves the image.
        layers: residual blocks per level on the way down, one more on the way up.
        fold: each axis of the image is folded this many times into channels before the first level (Zhang et al. 2018,
            FFDNet): a quarter of the work for ``fold`` 2, at the same field of view.
        attention: attention at the lowest level.
        facts: length of the vector of facts (:class:`medldm.inference.Conditioning`).
        groups: of the normalisation.
        noise_scale: factor on what the parametrization tells of the noise, before its Fourier features.
    """

    channels: Positive = 1
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 96, 128, 128)
    layers: Positive = 1
    fold: Positive = 2
    attention: bool = False
    facts: Annotated[int, Field(ge=0)] = 0
    groups: Positive = 16
    noise_scale: float = 100.0

    def __post_init__(self) -> None:
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"widths {list(self.widths)} do not divide into {self.groups} groups")


class SliceUNet(nn.Module):
    """A :class:`medldm.inference.DenoisingNetwork` of slices (batch, channel, y, x)."""

    def __init__(self, options: SliceUNetOptions) -> None:
        super().__init__()
        self.options = options
        levels = len(options.widths)
        folded = options.channels * options.fold**2
        embedded = 4 * options.widths[0]
        self.unet = UNet2DModel(
            in_channels=folded,
            out_channels=folded,
            block_out_channels=options.widths,
            layers_per_block=options.layers,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            norm_num_groups=options.groups,
            add_attention=options.attention,
            class_embed_type="identity",
        )
        # No bias: a vector of zeros, nothing known, leaves the embedding as it is.
        self.facts = nn.Linear(max(options.facts, 1), embedded, bias=False)
        if options.facts == 0:
            self.facts.requires_grad_(False)

    @property
    def multiple(self) -> int:
        """Sizes of y and x must be multiples of this."""
        return self.options.fold * int(2 ** (len(self.options.widths) - 1))

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        """See :class:`medldm.inference.DenoisingNetwork`."""
        told = condition if self.options.facts else torch.zeros(len(x), 1, dtype=x.dtype, device=x.device)
        folded = pixel_unshuffle(x, self.options.fold)
        predicted: Tensor = self.unet(
            folded, noise * self.options.noise_scale, class_labels=self.facts(told), return_dict=False
        )[0]
        return pixel_shuffle(predicted, self.options.fold)
