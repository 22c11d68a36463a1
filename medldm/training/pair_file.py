"""Simulated pairs kept beside the state of a training, so that going on does not simulate again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from medldm.errors import UsageError
from medldm.priors.card import PriorCard
from medldm.priors.card_file import entries_of
from medldm.training.command import Prepared
from medldm.training.pairs import Pairs


def pairs_job(prepared: Prepared, card: PriorCard) -> str:
    """Hash of what the pairs of a training follow from; how long and with which network it learns do not enter.

    Args:
        prepared: scans and configuration.
        card: of the regressor, with its measurement.
    """
    plain, facts = prepared.config.plain(), entries_of(card)
    parts = [
        {name: plain[name] for name in ("data", "pairs", "augmentation", "seed")},
        {name: plain["patches"][name] for name in ("planes", "cube")},
        {name: facts[name] for name in ("modality", "quantity", "intensity", "complex", "regression")},
        [scan.identity for scan in prepared.scans],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def write_pairs(path: Path, pairs: Sequence[Pairs], job: str) -> None:
    """Write aside and rename into place.

    Args:
        path: of the file; it holds pictures of the scans.
        pairs: to keep.
        job: hash of what they follow from.

    Raises:
        UsageError: ``E-TRN-13`` it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for number, one in enumerate(pairs):
        tensors |= {f"{number}/start": one.start.contiguous(), f"{number}/truth": one.truth.contiguous()}
    facts = [
        {"facts": dict(one.facts), "is_mr": one.is_mr, "weight": one.weight, "held_back": one.held_back}
        for one in pairs
    ]
    aside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, aside, metadata={"job": job, "pairs": json.dumps(facts)})
        aside.replace(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            "E-TRN-13",
            f"The simulated pairs cannot be written to {path}: {error}.",
            why="Without them going on would simulate them again.",
            fix="Make room, or choose another --out.",
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def read_pairs(path: Path, job: str) -> list[Pairs] | None:
    """The pairs of a job; None where there are none, or those of another, or no whole file."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("job") != job:
                return None
            return [
                Pairs(file.get_tensor(f"{number}/start"), file.get_tensor(f"{number}/truth"), **facts)
                for number, facts in enumerate(json.loads(metadata["pairs"]))
            ]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None
