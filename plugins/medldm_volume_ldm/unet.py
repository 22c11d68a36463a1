"""The volume denoiser: MONAI's DiffusionModelUNet in three dimensions, told facts by a vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from pydantic import Field
from torch import Tensor, nn

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class VolumeUNetOptions:
    """Options of :class:`VolumeUNet`.

    Attributes:
        channels: of the latent, or of the image for a pixel prior.
        widths: feature channels per level, finest first, multiples of ``groups``; each level after the first halves
            the volume.
        layers: residual blocks per level on the way down, one more on the way up.
        attention: self-attention per level; empty for none.
        middle_attention: self-attention between the way down and the way up. All attention reaches over the whole
            volume, so its time grows with the square of the voxels of its level.
        head_channels: channels per attention head.
        groups: of the normalisation.
        facts: length of the vector of facts (:class:`medldm.inference.Conditioning`).
        noise_scale: factor on what the parametrization tells of the noise, before its Fourier features; 1 for
            parametrizations that count levels up to 1000.
    """

    channels: Positive = 4
    widths: tuple[Positive, ...] = (24, 32, 32)
    layers: Positive = 1
    attention: tuple[bool, ...] = ()
    middle_attention: bool = True
    head_channels: Positive = 16
    groups: Positive = 8
    facts: Annotated[int, Field(ge=0)] = 0
    noise_scale: float = 100.0

    def __post_init__(self) -> None:
        if not self.widths or any(width % self.groups for width in self.widths):
            raise ValueError(f"widths {self.widths} are multiples of groups, {self.groups}")
        if self.attention and len(self.attention) != len(self.widths):
            raise ValueError(f"attention has one truth value per width, {len(self.widths)}, or none")
        attended = {width for width, here in zip(self.widths, self.attention, strict=False) if here}
        if any(width % self.head_channels for width in (*attended, self.widths[-1])):
            raise ValueError(f"widths with attention, and the last one, are multiples of {self.head_channels} channels")


class VolumeUNet(nn.Module):
    """A :class:`medldm.inference.DenoisingNetwork` of volumes (batch, channel, z, y, x)."""

    def __init__(self, options: VolumeUNetOptions) -> None:
        super().__init__()
        self.options = options
        self.unet = DiffusionModelUNet(
            spatial_dims=3,
            in_channels=options.channels,
            out_channels=options.channels,
            num_res_blocks=options.layers,
            channels=options.widths,
            attention_levels=options.attention or (False,) * len(options.widths),
            norm_num_groups=options.groups,
            num_head_channels=options.head_channels,
            num_class_embeds=1,
            use_flash_attention=True,
        )
        if not options.middle_attention:
            self.unet.middle_block.attention = nn.Identity()
        # MONAI adds class_embedding(class_labels) to the embedding of time. A linear map in place of the table of
        # classes takes a vector of facts; having no bias, it leaves the embedding as it is where nothing is known.
        facts = nn.Linear(max(options.facts, 1), 4 * options.widths[0], bias=False)
        facts.requires_grad_(options.facts > 0)
        self.unet.register_module("class_embedding", facts)

    @property
    def multiple(self) -> int:
        """Sizes of z, y and x must be multiples of this."""
        return int(2 ** (len(self.options.widths) - 1))

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        """See :class:`medldm.inference.DenoisingNetwork`."""
        told = condition if self.options.facts else torch.zeros(len(x), 1, dtype=x.dtype, device=x.device)
        predicted: Tensor = self.unet(x, noise * self.options.noise_scale, class_labels=told.to(x.dtype))
        return predicted
