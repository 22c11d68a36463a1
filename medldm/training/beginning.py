"""Where weights begin: at random, or at those of a prior that knows images of this kind already (fine-tuning)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import nn

from medldm.errors import UsageError
from medldm.priors.card import DataSource, PriorCard
from medldm.priors.card_file import read_card
from medldm.priors.catalogue import find_prior
from medldm.priors.family import PriorFamily
from medldm.priors.folder import load_networks
from medldm.training.config import TrainConfig

Role = Literal["denoiser", "autoencoder"]


def network_of(family: PriorFamily, role: Role, options: Mapping[str, Any], config: TrainConfig) -> nn.Module:
    """A network to train: with random weights of the configuration's seed, or those of ``config.begin_at``."""
    torch.manual_seed(config.seed)
    network = family.build({role: options}).named()[role]
    if config.begin_at:
        folder = find_prior(config.begin_at)
        network.load_state_dict(load_networks(folder, read_card(folder), family.build).named()[role].state_dict())
    return network


def begun_at(config: TrainConfig, role: Role) -> TrainConfig:
    """The configuration with all that weights bring along in place of its own; as it is where none are named.

    That is the network, what it is told, the intensities and, of a denoiser, its prediction, noise levels and latents.
    What it was trained on stays on the card, for attribution and licence.

    Args:
        config: names the prior in ``begin_at``.
        role: of the network that is trained.

    Raises:
        UsageError: ``E-TRN-34`` the prior has no such network, or is of other images than the configuration.
        ComponentMissing: ``E-PRI-..`` there is no such prior, or its card cannot be read.
    """
    if not config.begin_at:
        return config
    folder = find_prior(config.begin_at)
    source = read_card(folder)
    _require_alike(config, source, role)
    card = replace(
        config.card,
        family=source.family,
        intensity=source.intensity,
        slab=source.slab,
        complex=source.complex,
        size=source.size,
        facts=source.facts,
        networks={role: source.networks[role]},
        training=replace(
            config.card.training,
            data=data_of_both(source, config.card),
            commands=source.training.commands,
        ),
    )
    if role == "denoiser":
        card = replace(card, prediction=source.prediction, sigma=source.sigma)
    data = replace(
        config.data,
        intensity={**config.data.intensity, cast(Literal["CT", "MR"], source.modality): source.intensity},
        rules=tuple(
            replace(rule, facts={**source.facts.fixed, **rule.facts}) if rule.modality == source.modality else rule
            for rule in config.data.rules
        ),
    )
    within = config.autoencoder
    if role == "denoiser" and source.latent is not None and not within:
        within = str(folder)
    return replace(config, card=card, data=data, patches=replace(config.patches, slab=source.slab), autoencoder=within)


def data_of_both(source: PriorCard, card: PriorCard) -> tuple[DataSource, ...]:
    """What weights that are taken over were trained on, and what the card's own are, each once."""
    theirs = source.training.data
    return (*theirs, *(one for one in card.training.data if one not in theirs))


def _require_alike(config: TrainConfig, source: PriorCard, role: Role) -> None:
    card = config.card
    pairs = [
        ("modality", card.modality, source.modality),
        ("quantity", card.quantity, source.quantity),
        ("number of dimensions", card.dimensions, source.dimensions),
    ]
    wrong = [f"its {name} is {theirs}, the configuration's {ours}" for name, ours, theirs in pairs if ours != theirs]
    if role not in source.networks:
        wrong.append(f"it has no {role}")
    if source.regression is not None or card.prediction.kind == "regression":
        wrong.append("a regressor begins at random weights, and nothing begins at one")
    elif role == "denoiser" and source.latent is None and config.autoencoder:
        wrong.append("it denoises images, and the configuration names an autoencoder")
    if wrong:
        raise UsageError(
            "E-TRN-34",
            f"The training cannot begin at the prior {source.name!r}: {'; '.join(wrong)}.",
            why="Weights are of use for images, and a network, of their own kind only.",
            fix="medldm priors list shows others; without --from the training begins at random weights.",
        )
