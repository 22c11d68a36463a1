"""Priors of other programs: converted by a family, completed by a person, written whole or not at all."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medldm.errors import ComponentMissing, MedldmError, UsageError
from medldm.host import Host
from medldm.host.yaml_file import parse_scalar
from medldm.priors.card import PriorCard
from medldm.priors.card_file import FILE, card_of, entries_of, read_card, write_card
from medldm.priors.family import PriorFamily, UnknownLayout
from medldm.priors.folder import verify
from medldm.priors.pickles import DANGER, SUFFIXES
from medldm.priors.whole_folder import whole_folder, writing

_ALONE = "Weights alone do not say what their network is, what it predicts and which noise it has seen."
# Entries that a converter cannot read off networks, with how one may look on the command line.
_UNKNOWN = {
    "modality": "MR",
    "quantity": "arbitrary",
    "intensity.rule": "percentile",
    "spacing_mm.low": "0.5",
    "spacing_mm.high": "1.5",
    "planes": "[axial]",
    "licence": "CC-BY-4.0",
}


def import_prior(
    source: Path, folder: Path, host: Host, changes: Sequence[str] = (), family: str | None = None
) -> PriorCard:
    """Bring in a prior from a local folder of another program.

    Args:
        source: in the other program's layout.
        folder: to make.
        host: plugins.
        changes: ``entry=value`` of the card, with dots into nested entries and the value read as YAML.
        family: name of the family that converts; None tries each.

    Returns:
        The card of the new folder.

    Raises:
        ComponentMissing: ``E-PRI-40`` no family takes the source, with the reason of each; ``E-PRI-03`` it is a pickle;
            ``E-PRI-06``, ``E-PRI-07`` a change gives no valid card; ``E-PLG-08`` there is no such family.
        MedldmError: the family that knows the source's layout refuses it.
        UsageError: ``E-PRI-41`` the source does not tell for which scans it is, and the changes do not either, all of
            them listed; ``E-PRI-43`` a change is not ``entry=value``; ``E-PRI-18``, ``E-PRI-19``.
    """
    assigned = _assignments(changes)
    _require_source(source)
    with whole_folder(folder) as part:
        card, taker = _converted(source, part, host, family)
        card = _completed(card, assigned, part)
        with writing(folder):
            write_card(part, card)
        problems = verify(part, taker.build)
        if problems:
            first = problems[0]
            raise ComponentMissing(first.code, first.sentence, fix=first.remedy)
    return read_card(folder)


def assumed(card: PriorCard) -> Mapping[str, str]:
    """What of a card nobody has stated: entry, with dots -> reason."""
    table = card.training.figures.get("assumed")
    return {str(entry): str(why) for entry, why in table.items()} if isinstance(table, Mapping) else {}


def _require_source(source: Path) -> None:
    if (source / FILE).is_file():
        raise ComponentMissing(
            "E-PRI-40",
            f"{source} is a prior folder of medldm already.",
            fix="Use it by its path, or put it into a folder that MEDLDM_PRIORS names.",
        )
    if source.is_dir():
        return
    if not source.exists():
        raise ComponentMissing("E-PRI-40", f"There is no folder {source}.", fix="Check the path.")
    is_pickle = source.suffix in SUFFIXES
    raise ComponentMissing(
        "E-PRI-03" if is_pickle else "E-PRI-40",
        f"{source} is {'a pickle' if is_pickle else 'a file'}, and an import takes the folder of a whole model.",
        why=DANGER if is_pickle else _ALONE,
        fix="Load it elsewhere, on a computer without patient data, with the program that made it, and save the model "
        "with its configuration as a folder of safetensors.",
    )


def _converted(source: Path, part: Path, host: Host, family: str | None) -> tuple[PriorCard, PriorFamily]:
    refusals: dict[str, MedldmError] = {}
    for name in [family] if family is not None else host.names("priors"):
        taker: PriorFamily = host.build("priors", name, {})
        try:
            return taker.convert(source, part), taker
        except MedldmError as error:
            refusals[name] = error
        shutil.rmtree(part, ignore_errors=True)
    known = [error for error in refusals.values() if not isinstance(error, UnknownLayout)]
    if family is not None or len(known) == 1:
        # The family whose layout it is knows best what is wrong with it.
        raise (known or list(refusals.values()))[0]
    raise ComponentMissing(
        "E-PRI-40",
        f"No family of priors can take {source}.",
        why=" ".join(f"{name}: {error.what}" for name, error in refusals.items()) or "No plugin provides a family.",
        fix=f"Give the folder of a whole model, as its program saved it. {_ALONE}",
    )


def _completed(card: PriorCard, assigned: Mapping[str, Any], part: Path) -> PriorCard:
    entries = entries_of(card)
    for path, value in assigned.items():
        node = entries
        *parents, last = path.split(".")
        for key in parents:
            inner = node.get(key)
            if inner is None:
                inner = node[key] = {}
            if not isinstance(inner, dict):
                raise UsageError(
                    "E-PRI-43", f"--set {path}: {key!r} is a value.", fix="medldm priors show prints cards."
                )
            node = inner
        node[last] = value
    missing = _missing(card, assigned, entries)
    if missing:
        example = " ".join(f"--set {shlex.quote(f'{name}={value}')}" for name, value in missing)
        raise UsageError(
            "E-PRI-41",
            f"The source does not say for which scans it is: {', '.join(name for name, _ in missing)}.",
            why="Weights and networks do not tell it, and a wrong guess would draw the wrong anatomy.",
            fix=f"Add, with what is true: {example}",
        )
    return _without_stated(card_of(entries, part / "card.yaml"), assigned)


def _without_stated(card: PriorCard, assigned: Mapping[str, Any]) -> PriorCard:
    """What a person has stated is not assumed any more."""
    figures = dict(card.training.figures)
    left = {entry: why for entry, why in assumed(card).items() if not _states(assigned, entry)}
    figures.pop("assumed", None)
    if left:
        figures["assumed"] = left
    return replace(card, training=replace(card.training, figures=figures))


def _states(assigned: Mapping[str, Any], entry: str) -> bool:
    """Whether an entry, a table around it or a part of it is among those stated."""
    return any(f"{path}.".startswith(f"{entry}.") or f"{entry}.".startswith(f"{path}.") for path in assigned)


def _missing(card: PriorCard, assigned: Mapping[str, Any], entries: Mapping[str, Any]) -> list[tuple[str, str]]:
    # A converter that knows what the images were says so; one that does not leaves the modality open.
    if card.modality != "OT":
        return []
    given = set(assigned) | {
        f"{path}.{key}" for path, value in assigned.items() if isinstance(value, Mapping) for key in value
    }
    needed = dict(_UNKNOWN)
    if entries["modality"] == "CT":
        needed |= {"quantity": "HU", "intensity.rule": "window"}
    if card.dimensions == 3:
        needed.pop("planes")
    if "intensity.rule" in given and isinstance(entries["intensity"], Mapping):
        needed["intensity.rule"] = entries["intensity"]["rule"]
    if needed["intensity.rule"] == "window":
        needed |= {"intensity.low": "-1000", "intensity.high": "1000"}
    return [(name, example) for name, example in needed.items() if name not in given]


def _assignments(changes: Sequence[str]) -> dict[str, Any]:
    assigned = {}
    for change in changes:
        path, equals, text = change.partition("=")
        keys = path.removeprefix("card.").split(".")
        if not equals or not all(keys):
            raise UsageError(
                "E-PRI-43", f"--set {change!r} is not of the form entry=value.", fix="For example: --set modality=MR"
            )
        assigned[".".join(keys)] = parse_scalar(text)
    return assigned
