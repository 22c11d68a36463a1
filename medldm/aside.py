"""Writing aside: what is not whole yet has a name of its own, and what is told where the disk takes no more."""

from __future__ import annotations

import errno
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from medldm.errors import MedldmError

_UNFINISHED = re.compile(r"\..*|.*\.(part|old)-[0-9a-f]+")


def new_token() -> str:
    """For names of what is written aside. Random: containers that write to one disk share numbers of processes."""
    return secrets.token_hex(4)


def beside(path: Path, word: Literal["part", "old", "new"], token: str) -> Path:
    """Beside ``path``: where its content is filled (part), kept until replaced (old), or was rescued to (new)."""
    return path.with_name(f"{path.name}.{word}-{token}")


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path to write a file at, which takes the place of ``target`` when nothing was raised.

    It lies beside the target, hidden, with the same ending; when something was raised it is deleted.

    Args:
        target: the file to make or to replace.

    Raises:
        OSError: that of the system.
    """
    aside = target.with_name(f".part-{new_token()}-{target.name}")
    try:
        yield aside
        aside.replace(target)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def is_unfinished(name: str) -> bool:
    """Whether a folder of this name holds no results: hidden, or a part or an old one that a killed run left."""
    return _UNFINISHED.fullmatch(name) is not None


def not_written(what: str, error: OSError) -> MedldmError:
    """E-OUT-05 for files that were begun.

    Args:
        what: they are, as a subject in the plural.
        error: of the operating system.
    """
    # Libraries raise an error of their own words from that of the operating system, which alone has a number.
    while error.errno is None and isinstance(error.__cause__, OSError):
        error = error.__cause__
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return MedldmError(
        "E-OUT-05",
        "The disk is full." if full else f"{what} cannot be written: {error.strerror or type(error).__name__}.",
        why="Nothing was left half-written.",
        fix="Free some space, or choose a folder on another disk." if full else "Check the output folder.",
    )
