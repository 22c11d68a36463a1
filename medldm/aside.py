"""Writing aside: what folders are called until they are whole, and what is told where the disk takes no more."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from medldm.errors import MedldmError

_UNFINISHED = re.compile(r"\..*|.*\.(part|old)-\d+")


def part(path: Path) -> Path:
    """Where this process fills what becomes ``path``."""
    return path.with_name(f"{path.name}.part-{os.getpid()}")


def old(path: Path) -> Path:
    """Where this process keeps what was ``path`` until its successor is in place."""
    return path.with_name(f"{path.name}.old-{os.getpid()}")


def is_unfinished(name: str) -> bool:
    """Whether a folder of this name holds no results: hidden, or one of the two above, a killed run's included."""
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
