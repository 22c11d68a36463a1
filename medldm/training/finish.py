"""The end of a training: a prior folder whose card holds what was measured."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.priors.card import PriorCard, Weights
from medldm.priors.card_problems import card_problems
from medldm.priors.folder import write_prior
from medldm.training.cards import cards_of, contradictions
from medldm.training.command import Prepared
from medldm.training.first_pass import require_pass
from medldm.training.state import Progress


def require_cards(prepared: Prepared, card: PriorCard, folder: Path) -> None:
    """Refuse at the beginning what would keep the training from learning, or :func:`write_priors` from writing.

    Args:
        prepared: of the run.
        card: with its networks.
        folder: below which the prior folders are made.

    Raises:
        UsageError: ``E-TRN-32`` a card contradicts itself or the rest of the configuration, ``E-TRN-33`` something else
            is in the way, ``E-TRN-35`` the networks do not take the patches.
    """
    weights = {role: Weights(f"{role}.safetensors", "0" * 64) for role in card.networks}
    # Their weights are drawn aside, so that those of the training do not depend on it.
    with torch.random.fork_rng(devices=[]):
        networks = prepared.family.build(card.networks)
        for one in cards_of(replace(card, weights=weights), prepared.config):
            problems = [*card_problems(one), *contradictions(one, prepared.config, networks)]
            if problems:
                raise UsageError(
                    "E-TRN-32",
                    f"The card {one.name!r} contradicts itself, or the rest of the configuration: {problems[0]}",
                    why="No prior that serves could be written at the end of the training.",
                    fix="Correct 'card', 'also', or what contradicts them.",
                )
            place = folder / one.name
            if place.exists() and not (place / "card.yaml").is_file():
                raise UsageError(
                    "E-TRN-33",
                    f"{place} exists and is no prior folder.",
                    why="The prior could not be written there at the end of the training.",
                    fix="Move it away, or choose another --out.",
                )
        require_pass(prepared, card, networks)


def write_priors(
    prepared: Prepared,
    card: PriorCard,
    tensors: Mapping[str, Mapping[str, Tensor]],
    progress: Progress,
    quality: Mapping[str, Any],
    folder: Path,
) -> list[Path]:
    """Write the prior folder of the card, and one for each further card of the same weights.

    Args:
        prepared: of the run.
        card: with its networks and latent figures.
        tensors: role -> averaged weights.
        progress: at the end.
        quality: measured figures of these weights, those on held-back subjects as ``held_back`` with their ``error``.
        folder: below which the prior folders are made, each of its card's name.

    Returns:
        The folders.
    """
    plain = prepared.config.plain()
    # Where they lie on this machine is nobody else's business.
    plain |= {name: Path(plain[name]).name for name in ("autoencoder", "begin_at")}
    training = replace(
        card.training,
        commands=(*card.training.commands, *([prepared.command] if prepared.command else [])),
        config={name: value for name, value in plain.items() if name not in ("card", "also")},
        figures={
            **card.training.figures,
            "steps": progress.step,
            "seconds": round(progress.seconds),
            "device": device_words(prepared.accelerator.device),
            "held_back_error": float(f"{quality['held_back']['error']:.4g}"),
            "scans": len(prepared.scans),
        },
    )
    complete = replace(card, training=training, quality={**card.quality, **_rounded(quality)})
    written = write_prior(folder / card.name, complete, tensors, overwrite=True)
    folders = [folder / card.name]
    for other in cards_of(written, prepared.config)[1:]:
        write_prior(folder / other.name, other, {}, overwrite=True)
        folders.append(folder / other.name)
    return folders


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Four digits: what a measurement on some dozens of patches is worth."""
    return {name: _four_digits(value) for name, value in figures.items()}


def _four_digits(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _rounded(value)
    return float(f"{value:.4g}") if isinstance(value, float) else value


def device_words(device: torch.device) -> str:
    """The device in words, without a host's name."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{torch.get_num_threads()} CPU threads ({platform.machine()})"
