"""What a plugin registers through ``register_priors``: a family knows how to make its networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from medldm.errors import ComponentMissing

if TYPE_CHECKING:
    from torch import nn

    from medldm.priors.card import PriorCard
    from medldm.priors.model import PriorModel


@dataclass(frozen=True)
class Networks:
    """The modules of a prior.

    Attributes:
        denoiser: a :class:`medldm.inference.DenoisingNetwork`; None while only an autoencoder is trained.
        autoencoder: a :class:`medldm.inference.Autoencoder`; None for a pixel prior.
    """

    denoiser: nn.Module | None = None
    autoencoder: nn.Module | None = None

    def named(self) -> dict[str, nn.Module]:
        """Those that exist, by the names that cards use."""
        both = {"denoiser": self.denoiser, "autoencoder": self.autoencoder}
        return {name: module for name, module in both.items() if module is not None}


@runtime_checkable
class PriorFamily(Protocol):
    """A kind of networks: a dataclass without options, built by the host like any component."""

    def build(self, networks: Mapping[str, Mapping[str, Any]]) -> Networks:
        """Networks with fresh weights.

        Args:
            networks: ``denoiser`` and ``autoencoder``, or one of them -> options, as ``card.networks`` holds them.

        Raises:
            UsageError: an option is unknown or impossible.
        """
        ...

    def load(self, folder: Path) -> PriorModel:
        """The prior of a folder: card checked, weights verified, networks built.

        Raises:
            MedldmError: ``E-PRI-..`` what is wrong with the folder.
        """
        ...

    def convert(self, source: Path, folder: Path) -> PriorCard:
        """Turn a folder of another program into a prior folder.

        What the source does not tell of its images is left at a placeholder in the card, with ``modality: OT``; then
        ``medldm priors import`` asks for modality, quantity, intensity, spacing, planes and licence. All that was
        assumed stands in ``training.figures.assumed``, a table of card entry (with dots) -> reason, from which it drops
        what a person states.

        Args:
            source: a local folder in the other program's layout.
            folder: a new folder, filled here with ``card.yaml`` and safetensors.

        Raises:
            UnknownLayout: the source is none of this family's; another may take it.
            MedldmError: it is one, and holds what cannot be taken.
        """
        ...


class UnknownLayout(ComponentMissing):
    """What is to be converted has not the layout of a family's sources."""


def card_name(folder: Path) -> str:
    """A name in kebab case for the card of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "imported"
