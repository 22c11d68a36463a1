"""What is found below a folder: scans, what cannot be one, and what nobody asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from medldm.batch.row import Row


@dataclass(frozen=True)
class LeftOut:
    """Something that cannot be reconstructed as it is."""

    path: Path
    code: str
    reason: str


@dataclass(frozen=True)
class Found:
    """What lies below a folder.

    Attributes:
        rows: the scans; their outputs are named after their paths below the folder.
        left_out: what cannot be reconstructed as it is.
        not_included: how many files and folders of scans no pattern matches; they were not looked into.
    """

    rows: Sequence[Row]
    left_out: Sequence[LeftOut] = ()
    not_included: int = 0


def included(relative: Path, patterns: Sequence[str]) -> bool:
    """Whether one of patterns such as ``*_T1w.nii.gz`` matches a name or a path; without patterns all are included."""
    return not patterns or any(fnmatch(str(relative), one) or fnmatch(relative.name, one) for one in patterns)
