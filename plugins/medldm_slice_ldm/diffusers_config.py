"""Which networks of diffusers are taken, and with which options: the entries of their ``config.json``.

The fields have diffusers' names, meanings and defaults, so that a ``config.json`` is checked like any options: what it
holds beyond them, code of its own included, is refused by name and never reaches the library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Channels = Annotated[int, Field(ge=1, le=16384)]
Layers = Annotated[int, Field(ge=1, le=32)]
Widths = Annotated[tuple[Channels, ...], Field(min_length=1, max_length=10)]
Activation = Literal["silu", "swish", "mish", "gelu", "relu"]
SampleSize = int | tuple[int, int] | None
DownBlock = Literal["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"]
UpBlock = Literal["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"]
EncoderBlock = Literal["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]
DecoderBlock = Literal["UpDecoderBlock2D", "AttnUpDecoderBlock2D"]


@dataclass(frozen=True)
class UNet2DConfig:
    """Arguments of ``diffusers.UNet2DModel``, which documents them.

    Attributes:
        out_channels: as many as come in, or twice as many where the variance was learned, too.
        num_class_embeds: number of classes of a network that is told one.
        class_embed_type: embeddings of other things than classes are not taken.
    """

    sample_size: SampleSize = None
    in_channels: Channels = 3
    out_channels: Channels = 3
    center_input_sample: bool = False
    time_embedding_type: Literal["positional", "fourier", "learned"] = "positional"
    time_embedding_dim: Channels | None = None
    freq_shift: int = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[DownBlock, ...] = ("DownBlock2D", *("AttnDownBlock2D",) * 3)
    mid_block_type: Literal["UNetMidBlock2D"] | None = "UNetMidBlock2D"
    up_block_types: tuple[UpBlock, ...] = (*("AttnUpBlock2D",) * 3, "UpBlock2D")
    block_out_channels: Widths = (224, 448, 672, 896)
    layers_per_block: Layers = 2
    mid_block_scale_factor: float = 1.0
    downsample_padding: Annotated[int, Field(ge=0, le=1)] = 1
    downsample_type: Literal["conv", "resnet"] = "conv"
    upsample_type: Literal["conv", "resnet"] = "conv"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    act_fn: Activation = "silu"
    attention_head_dim: Channels | None = 8
    norm_num_groups: Channels = 32
    attn_norm_num_groups: Channels | None = None
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    add_attention: bool = True
    class_embed_type: None = None
    num_class_embeds: Annotated[int, Field(ge=1, le=100000)] | None = None
    num_train_timesteps: Annotated[int, Field(ge=1, le=100000)] | None = None

    def __post_init__(self) -> None:
        _same_length(self.block_out_channels, self.down_block_types, self.up_block_types)
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise ValueError(
                f"{self.in_channels} channels come in and {self.out_channels} go out; a denoiser returns what it takes"
            )
        if self.time_embedding_type == "learned" and self.num_train_timesteps is None:
            raise ValueError("a learned time embedding needs num_train_timesteps")

    @property
    def attends(self) -> bool:
        """Whether a pixel sees the whole image, so that the size of the image matters to the network."""
        return self.add_attention or any("Attn" in block for block in (*self.down_block_types, *self.up_block_types))


@dataclass(frozen=True)
class KLConfig:
    """Arguments of ``diffusers.AutoencoderKL``, which documents them.

    Attributes:
        scaling_factor: goes into the card's ``latent.scale``.
        shift_factor: goes into the card's ``latent.shift``.
        latents_mean: statistics per channel are not taken.
        latents_std: as ``latents_mean``.
    """

    in_channels: Channels = 3
    out_channels: Channels = 3
    down_block_types: tuple[EncoderBlock, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[DecoderBlock, ...] = ("UpDecoderBlock2D",)
    block_out_channels: Widths = (64,)
    layers_per_block: Layers = 1
    act_fn: Activation = "silu"
    latent_channels: Channels = 4
    norm_num_groups: Channels = 32
    sample_size: int = 32
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    latents_mean: None = None
    latents_std: None = None
    force_upcast: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    def __post_init__(self) -> None:
        _same_length(self.block_out_channels, self.down_block_types, self.up_block_types)
        _same_channels(self.in_channels, self.out_channels)


@dataclass(frozen=True)
class VQConfig:
    """Arguments of ``diffusers.VQModel``, which documents them.

    Attributes:
        scaling_factor: goes into the card's ``latent.scale``.
    """

    in_channels: Channels = 3
    out_channels: Channels = 3
    down_block_types: tuple[EncoderBlock, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[DecoderBlock, ...] = ("UpDecoderBlock2D",)
    block_out_channels: Widths = (64,)
    layers_per_block: Layers = 1
    act_fn: Activation = "silu"
    latent_channels: Channels = 3
    sample_size: int = 32
    num_vq_embeddings: Annotated[int, Field(ge=1, le=1000000)] = 256
    norm_num_groups: Channels = 32
    vq_embed_dim: Channels | None = None
    scaling_factor: float = 0.18215
    norm_type: Literal["group", "spatial"] = "group"
    mid_block_add_attention: bool = True
    lookup_from_codebook: bool = False
    force_upcast: bool = False

    def __post_init__(self) -> None:
        _same_length(self.block_out_channels, self.down_block_types, self.up_block_types)
        _same_channels(self.in_channels, self.out_channels)


def _same_length(widths: tuple[int, ...], down: tuple[str, ...], up: tuple[str, ...]) -> None:
    if not len(widths) == len(down) == len(up):
        raise ValueError(f"{len(widths)} widths, {len(down)} blocks down and {len(up)} blocks up are not as many")


def _same_channels(channels_in: int, channels_out: int) -> None:
    if channels_in != channels_out:
        raise ValueError(f"{channels_in} channels are encoded and {channels_out} decoded")
