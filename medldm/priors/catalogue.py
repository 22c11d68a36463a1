"""Priors by name: the folders of ``MEDLDM_PRIORS``, then those that come with medldm."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medldm.errors import ComponentMissing
from medldm.host.registry import closest, quoted
from medldm.host.shipped import shipped
from medldm.priors.card_file import FILE, read_card, require_denoiser
from medldm.priors.pickles import SUFFIXES, pickle_refused, pickles_in
from medldm.priors.weight_file import locate, shapes

if TYPE_CHECKING:
    from medldm.host import Host
    from medldm.priors.card import PriorCard
    from medldm.priors.family import PriorFamily
    from medldm.priors.model import PriorModel

VARIABLE = "MEDLDM_PRIORS"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PriorRow:
    """One line of ``medldm priors list``.

    Attributes:
        name: of the folder, as recipes call it.
        family: empty when the card cannot be read, as all that follows from the card.
        modality: of the card.
        summary: of the card.
        folder: where it lies.
        bytes: on disk, of the files in the folder.
        code: of the problem.
        problem: why it cannot be used, in a sentence; empty for a sound one. Hashes are left to
            ``medldm priors check``.
    """

    name: str
    family: str
    modality: str
    summary: str
    folder: Path
    bytes: int
    code: str = ""
    problem: str = ""


def find_prior(name_or_path: str | Path) -> Path:
    """The folder of a prior: a path to one, or a name looked up in ``MEDLDM_PRIORS`` and among those shipped.

    A bare name stands for a path only where that folder holds a card, so that a folder which happens to have the name
    of a prior is not in the way.

    Raises:
        ComponentMissing: ``E-PRI-21`` no prior has this name, with the closest three; ``E-PRI-01`` no such path, or
            that of a file; ``E-PRI-03`` that of a pickle.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        raise _a_file(path)
    is_name = len(path.parts) == 1 and path.name == str(name_or_path)
    if (path / FILE).is_file() or (path.is_dir() and not is_name):
        return path
    if not is_name:
        raise ComponentMissing(
            "E-PRI-01",
            f"There is no prior folder {path}.",
            fix="Check the path; 'medldm priors list' shows the priors that are found by name.",
        )
    for root in _roots():
        if (root / path.name).is_dir():
            return root / path.name
    if path.is_dir():
        return path
    names = {folder.name for folder in _folders()}
    raise ComponentMissing(
        "E-PRI-21",
        f"There is no prior {str(name_or_path)!r}.",
        why=f"The closest names are {quoted(closest(path.name, names))}." if names else "No prior is installed.",
        fix=f"Run 'medldm priors list', name a folder, or set {VARIABLE} to the folders that hold your priors.",
    )


def _a_file(path: Path) -> ComponentMissing:
    if path.suffix in SUFFIXES:
        return pickle_refused(path)
    is_prior = (path.parent / FILE).is_file()
    return ComponentMissing(
        "E-PRI-01",
        f"{path} is a file; a prior is a folder with {FILE} and its weights.",
        fix=f"Name its folder: {path.parent}" if is_prior else "'medldm priors list' shows those found by name.",
    )


def list_priors() -> list[PriorRow]:
    """All priors that are found by name, a broken one with its problem; the first of one name is the one used."""
    rows: dict[str, PriorRow] = {}
    for folder in _folders():
        if folder.name not in rows:
            rows[folder.name] = _row(folder)
    return sorted(rows.values(), key=lambda row: row.name)


def family_of(card: PriorCard, host: Host) -> PriorFamily:
    """The family that knows a card's networks.

    Raises:
        ComponentMissing: ``E-PLG-08`` no plugin provides it.
    """
    family: PriorFamily = host.build("priors", card.family, {})
    return family


def open_prior(name_or_path: str | Path, host: Host) -> PriorModel:
    """A prior by name or path, verified and loaded on the CPU.

    Raises:
        ComponentMissing: ``E-PRI-..`` what is wrong with it, ``E-PLG-08`` its family is not installed.
    """
    folder = find_prior(name_or_path)
    return family_of(read_card(folder), host).load(folder)


def _roots() -> list[Path]:
    given = [Path(part).expanduser() for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    for root in given:
        if not root.is_dir():
            _log.warning("%s names %s, which is no folder", VARIABLE, root)
    try:
        own = [shipped("priors")]
    except ComponentMissing:
        own = []
    return [*given, *own]


def _folders() -> list[Path]:
    """Folders that are meant as priors, in the order of the search."""
    found: list[Path] = []
    for root in _roots():
        try:
            inside = sorted(root.iterdir())
        except OSError:
            continue
        found += [folder for folder in inside if not folder.name.startswith(".") and _is_meant(folder)]
    return found


def _is_meant(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return (folder / FILE).exists() or any(folder.glob("*.safetensors")) or bool(pickles_in(folder))


def _row(folder: Path) -> PriorRow:
    family = modality = summary = code = problem = ""
    size = 0
    try:
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        card = read_card(folder)
        family, modality, summary = card.family, card.modality, card.summary
        for weights in card.weights.values():
            shapes(locate(folder, weights.file))
        require_denoiser(card, folder)
    except ComponentMissing as error:
        code, problem = error.code, error.what
    except OSError as error:
        code, problem = "E-PRI-04", f"{folder} cannot be read: {error.strerror}."
    return PriorRow(folder.name, family, modality, summary, folder, size, code, problem)
