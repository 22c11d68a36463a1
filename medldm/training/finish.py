"""The end of a training: a prior folder whose card holds what was measured."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.host.options import build
from medldm.priors.card import PriorCard, Weights
from medldm.priors.card_problems import card_problems
from medldm.priors.folder import write_prior
from medldm.training.command import Prepared
from medldm.training.state import Progress


def require_cards(prepared: Prepared, card: PriorCard, folder: Path) -> None:
    """Refuse at the beginning what would keep :func:`write_priors` from writing at the end.

    Args:
        prepared: of the run.
        card: with its networks.
        folder: below which the prior folders are made.

    Raises:
        UsageError: ``E-TRN-32`` a card contradicts itself, ``E-TRN-33`` something else is in the way.
    """
    weights = {role: Weights(f"{role}.safetensors", "0" * 64) for role in card.networks}
    complete = replace(card, weights=weights)
    for one in (complete, *(_sibling(complete, changes) for changes in prepared.config.also)):
        problems = card_problems(one)
        if problems:
            raise UsageError(
                "E-TRN-32",
                f"The card {one.name!r} of the configuration contradicts itself: {problems[0]}",
                why="No prior could be written at the end of the training.",
                fix="Correct 'card', or 'also', of the configuration.",
            )
        place = folder / one.name
        if place.exists() and not (place / "card.yaml").is_file():
            raise UsageError(
                "E-TRN-33",
                f"{place} exists and is no prior folder.",
                why="The prior could not be written there at the end of the training.",
                fix="Move it away, or choose another --out.",
            )


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
    for changes in prepared.config.also:
        other = _sibling(written, changes)
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


def _sibling(card: PriorCard, changes: Mapping[str, Any]) -> PriorCard:
    import pydantic

    plain = pydantic.TypeAdapter(PriorCard).dump_python(card, mode="json")
    # None stands for a field's default, which a strict reading does not take in the place of a table.
    given = {name: value for name, value in {**plain, **changes}.items() if value is not None}
    other = cast(PriorCard, build(PriorCard, given, where="also", subject="prior card"))
    weights = {role: Weights(f"../{card.name}/{one.file}", one.sha256) for role, one in card.weights.items()}
    return replace(other, weights=weights)


def device_words(device: torch.device) -> str:
    """The device in words, without a host's name."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{torch.get_num_threads()} CPU threads ({platform.machine()})"
