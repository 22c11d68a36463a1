"""What killed attempts left behind."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from medldm.batch.claim import Claim, state_mark
from medldm.batch.index import Index
from medldm.batch.lock import CoordinatorLock
from medldm.batch.workplace import Workplace, opened


@dataclass(frozen=True)
class Cleaned:
    """What was removed, and what was kept.

    Attributes:
        folders: of work that were removed.
        bytes: that they held.
        kept: folders of work with a saved state, from which an unfinished scan goes on.
        held: folders that a process still works in.
    """

    folders: int
    bytes: int
    kept: int
    held: int


def clean(out: Path, *, states: bool = False) -> Cleaned:
    """Remove half-done work of a batch; results, records and the index stay.

    Args:
        out: output folder of a batch.
        states: remove saved states too, so that unfinished scans begin anew.

    Raises:
        UsageError: E-BAT-07 a coordinator is at work, E-BAT-12 it is no batch.
    """
    place = opened(out)
    with CoordinatorLock(place.lock_file):
        unfinished = _unfinished(place)
        folders = size = kept = held = 0
        for folder in sorted((place.state / "work").iterdir()):
            if not folder.is_dir():
                continue
            with Claim(folder, "clean") as claim:
                if not claim.held:
                    held += 1
                    continue
                before = _bytes_in(folder)
                if state_mark(folder) and not states and folder.name in unfinished:
                    claim.clear_results()
                    kept += 1
                else:
                    shutil.rmtree(folder)
                    folders += 1
                size += before - _bytes_in(folder)
        place.cancel_file.unlink(missing_ok=True)
    return Cleaned(folders, size, kept, held)


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _unfinished(place: Workplace) -> set[str]:
    if not place.index_file.is_file():
        return {folder.name for folder in (place.state / "work").iterdir()}
    with closing(Index(place.index_file)) as index:
        return {scan.key for scan in index.scans("waiting", "running", "failed")}
