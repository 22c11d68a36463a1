"""``card.yaml``: read strictly, written for people."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from medldm.errors import ComponentMissing, MedldmError, UsageError
from medldm.host.yaml_file import read_mapping
from medldm.priors.card import PriorCard
from medldm.priors.card_problems import card_problems
from medldm.priors.pickles import SUFFIXES, pickle_refused, pickles_in

FILE = "card.yaml"
VERSION = 1

_HEAD = """\
Prior card of medldm. Research use only; not a medical device.
Checked by:  medldm priors check FOLDER     Printed by:  medldm priors show FOLDER
"""
# The order in which a person reads a card; entries not named here do not exist.
_SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What it is", ("card", "name", "family", "summary", "intended_use", "licence")),
    (
        "Which scans it is for; lengths in mm",
        (
            *("modality", "anatomy", "quantity", "intensity", "dimensions", "planes", "slab"),
            *("spacing_mm", "slice_spacing_mm", "size", "mirrored", "cube", "complex", "facts"),
        ),
    ),
    (
        "What the networks are and predict; noise levels in model units",
        ("sigma", "regression", "latent", "networks", "weights"),
    ),
    ("What was measured on it", ("quality",)),
    ("How it came about", ("training",)),
    ("The parametrization; at the end, since schedules are long", ("prediction",)),
)
# The emitter leaves some unusual words bare that its own reader does not take; these are quoted.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ .,;/()+*%=-]*")


def read_card(folder: Path) -> PriorCard:
    """The card of a prior folder; nothing else of the folder is read.

    Args:
        folder: holds ``card.yaml``.

    Raises:
        ComponentMissing: ``E-PRI-01`` no such folder, ``E-PRI-02`` no card, ``E-PRI-03`` weights that are pickles,
            ``E-PRI-04`` no valid YAML, ``E-PRI-05`` another version of the form, ``E-PRI-06`` an entry is unknown,
            missing or of the wrong type, ``E-PRI-07`` the card contradicts itself.
    """
    path = folder / FILE
    require_card(folder)
    try:
        entries = read_mapping(path)
    except UsageError as error:
        raise ComponentMissing(
            "E-PRI-04", f"The prior card cannot be read: {error.what}", why=error.why, fix=error.fix
        ) from error
    return card_of(entries, path)


def write_card(folder: Path, card: PriorCard) -> None:
    """Write ``card.yaml`` into an existing folder, in place of the one there.

    Reading it back gives an equal card, provided that the tables of free form (options of networks, configuration,
    figures, quality) hold plain data: words, numbers, truth values, None, lists and tables.

    Raises:
        ComponentMissing: ``E-PRI-06``, ``E-PRI-07``: the card is not one that could be read again.
        OSError: the folder cannot be written.
    """
    path = folder / FILE
    entries = entries_of(card)
    card_of(entries, path)
    aside = path.with_name(f".{FILE}.part")
    aside.write_text(_text(entries), encoding="utf-8")
    aside.replace(path)


def entries_of(card: PriorCard) -> dict[str, Any]:
    """A card as plain data: what stands in the file, by name."""
    entries: dict[str, Any] = _plain(dataclasses.asdict(card))
    return entries


def card_of(entries: Mapping[str, Any], path: Path) -> PriorCard:
    """A card from plain data.

    Args:
        entries: by name, nested tables for nested entries.
        path: of the file, for messages.

    Raises:
        ComponentMissing: ``E-PRI-03``, ``E-PRI-05``, ``E-PRI-06``, ``E-PRI-07``, as :func:`read_card`.
    """
    # pydantic takes longer to import than listing recipes or plugins.
    from medldm.host.options import build

    version = entries.get("card", VERSION)
    if version != VERSION or isinstance(version, bool):
        raise ComponentMissing(
            "E-PRI-05",
            f"{path} is of version {version!r} of the form; this medldm reads version {VERSION}.",
            why="A card that is half understood lets a prior run on scans that it is not for.",
            fix="Update medldm.",
        )
    try:
        card: PriorCard = build(PriorCard, entries, subject=f"prior card {path}")
    except MedldmError as error:
        raise ComponentMissing(
            "E-PRI-06",
            error.what,
            why=error.why,
            fix=error.fix.replace("the recipe", "the card") or "Correct the card.",
        ) from error
    for weights in card.weights.values():
        if weights.file.endswith(SUFFIXES):
            raise pickle_refused(path.parent / weights.file)
    problems = card_problems(card)
    if problems:
        raise ComponentMissing(
            "E-PRI-07",
            f"The prior card {path} contradicts itself: {problems[0]}",
            why=" ".join(problems[1:]),
            fix="Correct the card.",
        )
    return card


def require_denoiser(card: PriorCard, folder: Path) -> None:
    """Refuse (``E-PRI-23``) a folder that holds an autoencoder only, as training leaves one half way."""
    if "denoiser" not in card.networks:
        raise ComponentMissing(
            "E-PRI-23",
            f"The folder {folder} holds an autoencoder and no denoiser.",
            why="It is one half of a latent prior; nothing can be reconstructed with it.",
            fix="Train a denoiser on it: medldm train denoiser.",
        )


def require_card(folder: Path) -> None:
    """Refuse (``E-PRI-01`` to ``E-PRI-03``) a folder without a card."""
    if (folder / FILE).is_file():
        return
    if not folder.is_dir():
        raise ComponentMissing(
            "E-PRI-01",
            f"There is no prior folder {folder}.",
            fix="Check the path; 'medldm priors list' shows the priors that are found by name.",
        )
    pickles = pickles_in(folder)
    if pickles and not any(folder.rglob("*.safetensors")):
        raise pickle_refused(pickles[0])
    raise ComponentMissing(
        "E-PRI-02",
        f"The folder {folder} has no {FILE}.",
        why="Without a card nothing says which scans and which noise levels the weights are for.",
        fix="A folder of diffusers or a MONAI bundle is brought in by 'medldm priors import'.",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _text(entries: Mapping[str, Any]) -> str:
    page = CommentedMap()
    for title, names in _SECTIONS:
        for position, name in enumerate(names):
            value = entries[name]
            if value is None:
                continue
            page[name] = _laid_out(value)
            if position == 0:
                page.yaml_set_comment_before_after_key(name, before=f"\n{title}")
    page.yaml_set_start_comment(_HEAD)
    yaml = YAML()
    yaml.version = "1.2"
    yaml.width = 120
    yaml.default_flow_style = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    # The same list in two places is written twice: the reader takes no aliases.
    yaml.representer.ignore_aliases = lambda *_: True
    yaml.explicit_start = False
    stream = io.StringIO()
    yaml.dump(page, stream)
    # The emitter leaves a space where it breaks a list of numbers.
    return re.sub(r", +$", ",", stream.getvalue().removeprefix("%YAML 1.2\n---\n"), flags=re.MULTILINE)


def _laid_out(value: Any) -> Any:
    """Tables on lines of their own; what is flat and short, and every list of numbers, on one line."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else DoubleQuotedScalarString(value)
    if isinstance(value, Mapping):
        table = CommentedMap((_laid_out(key), _laid_out(inner)) for key, inner in value.items())
        flat = not any(isinstance(inner, (Mapping, list)) for inner in value.values())
        if not value or (flat and len(repr(dict(value))) <= 90):
            table.fa.set_flow_style()
        return table
    if isinstance(value, list):
        row = CommentedSeq(_laid_out(inner) for inner in value)
        if all(not isinstance(inner, (Mapping, list)) for inner in value) and (
            not value or not isinstance(value[0], str) or len(repr(value)) <= 90
        ):
            row.fa.set_flow_style()
        return row
    return value
