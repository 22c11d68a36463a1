"""Networks of MONAI bundles behind the contracts of the prior layer: their axes, their facts, their sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from medldm_volume_ldm.body_axes import AxisOrder, BodyAxes
from medldm_volume_ldm.foreign_config import levels_of, network_of

Count = Annotated[int, Field(ge=0)]
REGIONS = ("head", "chest", "abdomen", "lower")


@dataclass(frozen=True)
class MonaiUNetOptions:
    """Options of :class:`MonaiUNet`.

    Attributes:
        config: arguments of MONAI's DiffusionModelUNet.
        axes: direction of the body in which each axis of the network increases.
        numbers: [centre, scale] of each number that the network is told by cross attention, as ``facts.numbers`` of the
            card has them; a number that is not known is told as its centre.
        concatenated: the numbers are also appended to the image as constant channels.
        reversed: the network predicts ``x0 - n``, as MONAI's rectified flow has it, not ``n - x0``.
    """

    config: Mapping[str, Any]
    axes: BodyAxes = "RAS"
    numbers: tuple[tuple[float, float], ...] = ()
    concatenated: bool = False
    reversed: bool = False


class MonaiUNet(nn.Module):
    """A :class:`medldm.inference.DenoisingNetwork` on any DiffusionModelUNet, told numbers through its context."""

    def __init__(self, options: MonaiUNetOptions) -> None:
        super().__init__()
        self.options = options
        self.order = AxisOrder(options.axes)
        self.multiple = int(2 ** (levels_of(options.config) - 1))
        self.unet = network_of("monai-unet", options.config)

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        """See :class:`medldm.inference.DenoisingNetwork`."""
        image, context = self.order.theirs(x), None
        if self.options.numbers:
            told = _numbers(condition.to(x.dtype), self.options.numbers)
            context = told[:, None]
            if self.options.concatenated:
                image = torch.cat((image, told[:, :, None, None, None].expand(-1, -1, *image.shape[2:])), 1)
        predicted: Tensor = self.order.ours(self.unet(image, noise, context=context))
        return -predicted if self.options.reversed else predicted


@dataclass(frozen=True)
class MaisiUNetOptions:
    """Options of :class:`MaisiUNet`.

    Attributes:
        config: arguments of MONAI's DiffusionModelUNetMaisi.
        axes: direction of the body in which each axis of the network increases.
        modalities: rows of the table of modalities, in the order of ``facts.classes.modality`` of the card.
        unknown_modality: row for a modality that is not told.
        spacing: [centre, scale] of the three spacings in mm, as ``facts.numbers`` of the card has them; one that is not
            known is told as its centre.
        reversed: the network predicts ``x0 - n``, as MONAI's rectified flow has it, not ``n - x0``.
    """

    config: Mapping[str, Any]
    axes: BodyAxes = "RAS"
    modalities: tuple[Count, ...] = ()
    unknown_modality: Count = 0
    spacing: tuple[float, float] = (1.5, 1.0)
    reversed: bool = False


class MaisiUNet(nn.Module):
    """A :class:`medldm.inference.DenoisingNetwork` on MAISI's U-Net, told modality, regions of the body and spacing.

    The vector of facts holds, as far as the configuration asks for them, one number per modality, per region at the
    top and per region at the bottom, then the three spacings. MAISI tells regions and mm in hundredths.
    """

    def __init__(self, options: MaisiUNetOptions) -> None:
        super().__init__()
        self.options = options
        self.order = AxisOrder(options.axes)
        self.multiple = int(2 ** (levels_of(options.config) - 1))
        self.unet = network_of("maisi-unet", options.config)
        asks = options.config.get
        top, bottom = asks("include_top_region_index_input", False), asks("include_bottom_region_index_input", False)
        self._lengths = (
            len(options.modalities),
            len(REGIONS) * bool(top),
            len(REGIONS) * bool(bottom),
            6 * bool(asks("include_spacing_input", False)),
        )
        self.register_buffer("modalities", torch.tensor(options.modalities, dtype=torch.long), persistent=False)

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        """See :class:`medldm.inference.DenoisingNetwork`."""
        modality, top, bottom, spacing = condition.to(x.dtype).split(self._lengths, 1)
        predicted: Tensor = self.unet(
            self.order.theirs(x),
            noise,
            class_labels=self._row(modality) if self.options.modalities else None,
            top_region_index_tensor=100 * top if top.shape[1] else None,
            bottom_region_index_tensor=100 * bottom if bottom.shape[1] else None,
            spacing_tensor=100 * _numbers(spacing, (self.options.spacing,) * 3) if spacing.shape[1] else None,
        )
        predicted = self.order.ours(predicted)
        return -predicted if self.options.reversed else predicted

    def _row(self, modality: Tensor) -> Tensor:
        known = modality > 0.5
        rows: Tensor = self.get_buffer("modalities")[modality.argmax(1)]
        return torch.where(known.any(1), rows, self.options.unknown_modality)


@dataclass(frozen=True)
class ForeignAutoencoderOptions:
    """Options of :class:`ForeignAutoencoder`.

    Attributes:
        config: arguments of MONAI's AutoencoderKL or AutoencoderKlMaisi.
        axes: direction of the body in which each axis of the network increases.
    """

    config: Mapping[str, Any]
    axes: BodyAxes = "RAS"


class ForeignAutoencoder(nn.Module):
    """A :class:`medldm.inference.Autoencoder` on MONAI's or MAISI's; its latent keeps our axes (z, y, x)."""

    def __init__(self, options: ForeignAutoencoderOptions, *, maisi: bool) -> None:
        super().__init__()
        self.options = options
        self.order = AxisOrder(options.axes)
        self.downscale = int(2 ** (levels_of(options.config) - 1))
        self.latent_channels = int(options.config.get("latent_channels", 3))
        self.kl: Any = network_of("maisi-kl" if maisi else "monai-kl", options.config)

    @property
    def multiple(self) -> int:
        """Sizes of z, y and x must be multiples of this."""
        return self.downscale

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`medldm.inference.Autoencoder`."""
        mean, std = self.kl.encode(self.order.theirs(x))
        return self.order.ours(mean), 2 * self.order.ours(std).log()

    def decode(self, z: Tensor) -> Tensor:
        """See :class:`medldm.inference.Autoencoder`."""
        return self.order.ours(self.kl.decode(self.order.theirs(z)))


def _numbers(pairs: Tensor, scales: tuple[tuple[float, float], ...]) -> Tensor:
    """Numbers (batch, n) as the network knows them, from pairs of (standardised, known)."""
    centre, scale = pairs.new_tensor(scales).unbind(1)
    return centre + scale * pairs[:, ::2]
