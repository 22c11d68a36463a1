"""Denoisers of deepinv as priors: a family of networks for prior folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deepinv
import torch
from torch import Tensor, nn

from medldm.errors import UsageError
from medldm.host.options import build as build_options
from medldm.priors.family import Networks, UnknownLayout

if TYPE_CHECKING:
    from medldm.priors.card import PriorCard
    from medldm.priors.model import PriorModel


@dataclass(frozen=True)
class DeepinvDenoiserOptions:
    """Options of the denoiser, as they stand in a card under ``networks.denoiser``.

    Attributes:
        model: a class of ``deepinv.models`` that is a ``Denoiser`` of one channel.
        options: what the class takes; weights come from the folder, never from deepinv's downloads.
        pad: sizes are padded to multiples of this, 1 where the network takes any.
    """

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    pad: int = 1


class ToldDenoiser(nn.Module):
    """A denoiser ``D(v, sigma)`` of images from 0 to 1, seen as a network that predicts the velocity of flow matching.

    It is given ``z = x / (1 + sigma)`` and ``t = sigma / (1 + sigma)`` and predicts ``(z - D) / t``, from which
    :func:`medldm.inference.parametrization.flow_matching` makes ``D`` again: nothing is lost but rounding.

    Args:
        denoiser: called with an image ``(batch, 1, y, x)`` and a standard deviation per image.
        pad: see :class:`DeepinvDenoiserOptions`.
    """

    image_range: Tensor

    def __init__(self, denoiser: nn.Module, pad: int) -> None:
        super().__init__()
        self.denoiser, self.pad = denoiser, pad
        # Values of the prior that are 0 and 1 to deepinv; with the weights, so that a folder always holds some.
        self.register_buffer("image_range", torch.tensor([-1.0, 1.0]))

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        t = noise.to(x.dtype).reshape(-1, 1, 1, 1)
        low, high = self.image_range.to(x.dtype)
        sigma = t / (1 - t)
        noisy = ((1 + sigma) * x - low) / (high - low)
        rows, columns = noisy.shape[-2:]
        padded = nn.functional.pad(noisy, (0, -columns % self.pad, 0, -rows % self.pad), mode="replicate")
        clean = self.denoiser(padded, (sigma / (high - low)).reshape(-1))[..., :rows, :columns]
        velocity: Tensor = (x - (low + (high - low) * clean)) / t
        return velocity


@dataclass(frozen=True)
class DeepinvDenoisers:
    """Pixel priors of slices, see :class:`medldm.priors.family.PriorFamily`; their cards say ``kind: flow``."""

    def build(self, networks: Mapping[str, Mapping[str, Any]]) -> Networks:
        """The denoiser with fresh weights.

        Raises:
            UsageError: E-DIN-05 for a role, model or options that there are not, ``E-OPT-..`` for the entries.
        """
        if set(networks) != {"denoiser"}:
            raise UsageError(
                "E-DIN-05",
                f"A prior of deepinv is a denoiser, and not {', '.join(sorted(networks)) or 'nothing'}.",
                fix="Remove the other networks from the card.",
            )
        given = build_options(
            DeepinvDenoiserOptions, networks["denoiser"], where="networks.denoiser", subject="denoiser of deepinv"
        )
        kind = getattr(deepinv.models, given.model, None)
        if not (isinstance(kind, type) and issubclass(kind, deepinv.models.Denoiser)) or given.pad < 1:
            raise UsageError(
                "E-DIN-05",
                f"deepinv {deepinv.__version__} has no denoiser {given.model!r}, or {given.pad} is no size to pad to.",
                fix="Name a class of deepinv.models, for instance DRUNet.",
            )
        try:
            denoiser = kind(**given.options, **({"pretrained": None} if _takes_pretrained(kind) else {}))
        except Exception as error:
            raise UsageError(
                "E-DIN-05", f"deepinv cannot make {given.model!r}: {error}", fix="Correct 'networks.denoiser.options'."
            ) from error
        return Networks(denoiser=ToldDenoiser(denoiser, given.pad))

    def load(self, folder: Path) -> PriorModel:
        """The prior of a folder."""
        from medldm.priors.folder import load_prior

        return load_prior(folder, self.build)

    def convert(self, source: Path, folder: Path) -> PriorCard:
        """Nothing is converted: deepinv has no folders of its own, and its weights are pickles."""
        raise UnknownLayout(
            "E-DIN-06",
            f"{source.name} is no folder of deepinv: it has no layout of its own.",
            why="Its weights are pickles, which can run code and are never loaded.",
            fix="The README of medldm_deepinv shows how to write a prior folder from a denoiser in Python.",
        )


def _takes_pretrained(kind: type) -> bool:
    import inspect

    return "pretrained" in inspect.signature(kind).parameters
