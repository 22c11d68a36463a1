"""A folder that appears whole or not at all: filled aside, then moved to its place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medldm.aside import new_token
from medldm.errors import UsageError
from medldm.priors.card_file import FILE


@contextmanager
def whole_folder(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A path to make a prior folder at, which takes the place of ``folder`` when nothing was raised.

    It has the same last name, by which cards are named, in a hidden folder beside. When something was raised nothing is
    left, nor are parents that were made here.

    Args:
        folder: to make; its parents are made where they do not exist.
        overwrite: replace an existing prior folder.

    Raises:
        UsageError: ``E-PRI-18`` the folder exists, ``E-PRI-19`` it cannot be written.
    """
    folder = folder.absolute()
    if folder.exists() and not (overwrite and folder.is_dir() and (folder / FILE).is_file()):
        raise UsageError(
            "E-PRI-18",
            f"{folder} exists.",
            why="A prior is never overwritten in silence, and nothing else is overwritten at all.",
            fix="Choose another folder.",
        )
    made = [parent for parent in folder.parents if not parent.exists()]
    token = new_token()
    room, old = (folder.with_name(f".{folder.name}.{word}-{token}") for word in ("part", "old"))
    part = room / folder.name
    try:
        with writing(folder):
            room.mkdir(parents=True)
        yield part
        with writing(folder):
            _into_place(part, folder, old)
    finally:
        shutil.rmtree(room, ignore_errors=True)
        if not folder.exists():
            for parent in made:
                with suppress(OSError):
                    parent.rmdir()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """``E-PRI-19`` in the place of an error of the system."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            "E-PRI-19",
            f"The prior folder {folder} cannot be written: {error.strerror}.",
            fix="Choose a folder that you may write to, on a disk with space.",
        ) from error


def _into_place(part: Path, folder: Path, old: Path) -> None:
    replaced = folder.exists()
    if replaced:
        folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        if replaced:
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
