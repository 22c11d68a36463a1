"""Networks of diffusers as other groups trained them, behind the prior layer's contracts."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

from medldm.errors import UsageError
from medldm_slice_ldm.diffusers_config import KLConfig, UNet2DConfig, VQConfig


@dataclass(frozen=True)
class DiffusersUNet2DOptions:
    """Options of :class:`DiffusersUNet2D`.

    Attributes:
        config: the entries of its ``config.json``.
        null_class: the class that the network was trained to take for "none", if it was; of a network with classes.
    """

    config: UNet2DConfig
    null_class: int | None = None

    def __post_init__(self) -> None:
        classes = self.config.num_class_embeds or 0
        if self.null_class is not None and not 0 <= self.null_class < classes:
            raise ValueError(f"null_class {self.null_class} is none of {classes} classes")


@dataclass(frozen=True)
class DiffusersKLOptions:
    """Options of :class:`DiffusersKL`.

    Attributes:
        config: the entries of its ``config.json``.
        gray: the network was trained on colours; a gray image goes into each of its channels, and their mean comes out.
    """

    config: KLConfig
    gray: bool = False


@dataclass(frozen=True)
class DiffusersVQOptions:
    """Options of :class:`DiffusersVQ`.

    Attributes:
        config: the entries of its ``config.json``.
        gray: the network was trained on colours; a gray image goes into each of its channels, and their mean comes out.
    """

    config: VQConfig
    gray: bool = False


class DiffusersUNet2D(nn.Module):
    """A :class:`medldm.inference.DenoisingNetwork` around any ``UNet2DModel``.

    A network with classes takes a condition of one number per class and is told the class of the largest. Where nothing
    is known it is told ``null_class``. Without one there is no unconditional denoiser in it: any class that stood in
    would be a claim about the image, so it refuses (``E-SLD-09``).
    """

    def __init__(self, options: DiffusersUNet2DOptions) -> None:
        super().__init__()
        self.options = options
        self.unet = UNet2DModel(**asdict(options.config))

    @property
    def multiple(self) -> int:
        """Sizes of y and x must be multiples of this."""
        return int(2 ** (len(self.options.config.block_out_channels) - 1))

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        """See :class:`medldm.inference.DenoisingNetwork`."""
        config = self.options.config
        # A learned embedding is a table of whole levels.
        told = noise.round().long() if config.time_embedding_type == "learned" else noise
        predicted: Tensor = self.unet(x, told, class_labels=self._labels(condition), return_dict=False)[0]
        # What comes after the prediction is the learned variance, which a denoiser does not need.
        return predicted[:, : config.in_channels]

    def _labels(self, condition: Tensor) -> Tensor | None:
        if self.options.config.num_class_embeds is None:
            return None
        unknown = (condition == 0).all(1)
        labels = condition.argmax(1)
        if self.options.null_class is not None:
            return labels.where(~unknown, torch.full_like(labels, self.options.null_class))
        if bool(unknown.any()):
            raise UsageError(
                "E-SLD-09",
                "The network must be told a class, and nothing is known.",
                why="It was not trained without one, so any class that stood in would be a claim about the image.",
                fix="State 'class' under 'facts.fixed' in the card, or 'networks.denoiser.null_class' if the network "
                "was trained with a class for none.",
            )
        return labels


class DiffusersKL(nn.Module):
    """A :class:`medldm.inference.Autoencoder` around any ``AutoencoderKL``."""

    def __init__(self, options: DiffusersKLOptions) -> None:
        super().__init__()
        self.options = options
        self.latent_channels = options.config.latent_channels
        self.downscale = int(2 ** (len(options.config.block_out_channels) - 1))
        self.vae = AutoencoderKL(**asdict(options.config))

    @property
    def multiple(self) -> int:
        """Sizes of y and x must be multiples of this."""
        return self.downscale

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`medldm.inference.Autoencoder`."""
        law = self.vae.encode(_coloured(x, self.options), return_dict=False)[0]
        return law.mean, law.logvar

    def decode(self, z: Tensor) -> Tensor:
        """See :class:`medldm.inference.Autoencoder`."""
        image: Tensor = self.vae.decode(z, return_dict=False)[0]
        return _gray(image, self.options)


class DiffusersVQ(nn.Module):
    """A :class:`medldm.inference.Autoencoder` around any ``VQModel``.

    The latent is the encoder's output before quantisation, as in latent diffusion (Rombach et al. 2022, section 3.1);
    ``decode`` quantises. The gradient passes the quantiser as if it were the identity (van den Oord et al. 2017), which
    serves training and is no derivative.
    """

    decode_gradient = False

    def __init__(self, options: DiffusersVQOptions) -> None:
        super().__init__()
        config = options.config
        self.options = options
        self.latent_channels = config.vq_embed_dim or config.latent_channels
        self.downscale = int(2 ** (len(config.block_out_channels) - 1))
        self.vq = VQModel(**asdict(config))

    @property
    def multiple(self) -> int:
        """Sizes of y and x must be multiples of this."""
        return self.downscale

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`medldm.inference.Autoencoder`; there is no variance, its logarithm is that of 1e-13."""
        latent: Tensor = self.vq.encode(_coloured(x, self.options), return_dict=False)[0]
        return latent, torch.full_like(latent, -30.0)

    def decode(self, z: Tensor) -> Tensor:
        """See :class:`medldm.inference.Autoencoder`."""
        image: Tensor = self.vq.decode(z, return_dict=False)[0]
        return _gray(image, self.options)


def _coloured(image: Tensor, options: DiffusersKLOptions | DiffusersVQOptions) -> Tensor:
    return image.expand(-1, options.config.in_channels, -1, -1) if options.gray else image


def _gray(image: Tensor, options: DiffusersKLOptions | DiffusersVQOptions) -> Tensor:
    return image.mean(1, keepdim=True) if options.gray else image
