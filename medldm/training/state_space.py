"""Where a diffusion takes place: images, or the latents of an autoencoder that is there already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn

from medldm.errors import UsageError
from medldm.inference.networks import Autoencoder
from medldm.priors.card import Intensity, PriorCard, Training
from medldm.priors.card_file import read_card
from medldm.priors.folder import load_networks
from medldm.training.beginning import data_of_both
from medldm.training.cards import cards_of
from medldm.training.command import Prepared
from medldm.training.config import TrainConfig


class StateSpace:
    """Images, or latents.

    Args:
        card: of the denoiser, with the latents' figures.
        autoencoder: None where images are denoised.
    """

    def __init__(self, card: PriorCard, autoencoder: nn.Module | None) -> None:
        self.card, self.autoencoder = card, autoencoder

    @classmethod
    def of(cls, prepared: Prepared) -> Self:
        """As the configuration says.

        Raises:
            UsageError: ``E-TRN-30`` what is named as autoencoder is none, or is one of other images.
        """
        config = prepared.config
        if not config.autoencoder:
            return cls(config.card, None)
        folder = Path(config.autoencoder)
        source = read_card(folder)
        if source.latent is None or "autoencoder" not in source.networks:
            raise UsageError(
                "E-TRN-30",
                f"{folder} holds no autoencoder.",
                fix="medldm train autoencoder makes one; give its folder as --set autoencoder=FOLDER.",
            )
        _require_alike(config, source)
        networks = load_networks(folder, source, prepared.family.build)
        assert networks.autoencoder is not None
        card = replace(
            config.card,
            latent=source.latent,
            networks={**config.card.networks, "autoencoder": source.networks["autoencoder"]},
            training=_training_of_both(config.card, source),
            quality={**config.card.quality, **{f"autoencoder_{k}": v for k, v in source.quality.items()}},
        )
        return cls(card, networks.autoencoder.to(prepared.accelerator.device))

    def encode(self, images: Tensor) -> Tensor:
        """Model values -> state."""
        if self.autoencoder is None or self.card.latent is None:
            return images
        with torch.no_grad():
            mean = cast(Autoencoder, self.autoencoder).moments(images)[0]
        return (mean - self.card.latent.shift) * self.card.latent.scale

    def decode(self, states: Tensor) -> Tensor:
        """State -> model values."""
        if self.autoencoder is None or self.card.latent is None:
            return states
        with torch.no_grad():
            latents = states / self.card.latent.scale + self.card.latent.shift
            return cast(Autoencoder, self.autoencoder).decode(latents)


def _training_of_both(card: PriorCard, source: PriorCard) -> Training:
    """What the autoencoder was trained on is in the prior too, for attribution and licence."""
    theirs = source.training.commands
    commands = (*theirs, *(one for one in card.training.commands if one not in theirs))
    return replace(card.training, data=data_of_both(source, card), commands=commands)


def _require_alike(config: TrainConfig, source: PriorCard) -> None:
    for card in cards_of(config.card, config):
        wrong = list(_differences(card, source))
        if wrong:
            raise UsageError(
                "E-TRN-30",
                f"The autoencoder {source.name!r} is not one for the card {card.name!r}: {'; '.join(wrong)}.",
                why="Of other images, or of the same in other model values, its latents hold little.",
                fix="medldm train autoencoder makes one by the same data and card; --set autoencoder=FOLDER names it.",
            )


def _differences(card: PriorCard, source: PriorCard) -> Iterator[str]:
    names: tuple[str, ...] = ("dimensions", "slab", "complex")
    if source.modality in (card.modality, "OT"):
        names += ("quantity", "intensity")
    elif card.modality.lower() not in source.facts.classes.get("modality", ()):
        yield f"its modality is {source.modality}, the card's {card.modality}"
    else:
        # Its card has the values of one modality; how it saw the others stands in its configuration, where it has one.
        theirs = _seen(source, card.modality)
        if theirs is not None and theirs != asdict(card.intensity):
            yield f"it saw {card.modality} in other intensities than the card's"
    for name in names:
        if getattr(source, name) != getattr(card, name):
            yield f"its {name} is {_words(getattr(source, name))}, the card's {_words(getattr(card, name))}"


def _words(value: object) -> object:
    if not isinstance(value, Intensity):
        return value
    values = (
        f"up to percentile {value.percentile:g}" if value.rule == "percentile" else f"{value.low:g} to {value.high:g}"
    )
    return f"{values} as {value.to[0]:g} to {value.to[1]:g}"


def _seen(source: PriorCard, modality: str) -> dict[str, object] | None:
    node: object = source.training.config
    for name in ("data", "intensity", modality):
        node = node.get(name) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return None
    return {name: tuple(value) if isinstance(value, list) else value for name, value in node.items()}
