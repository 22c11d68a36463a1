"""How a batch stands, seen from outside. Loads nothing heavy: the answer is there at once, however many scans."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from medldm.batch.index import STATES, Index, Scan
from medldm.batch.lock import running
from medldm.batch.workplace import Workplace, opened

FAILURES_SHOWN = 1000


def status(out: Path, *, every: bool = False) -> dict[str, Any]:
    """Counts, the coordinator that is at work, its estimates, and what failed.

    Args:
        out: output folder of a batch.
        every: list all scans, not only those that failed.

    Raises:
        UsageError: E-BAT-12 it is none.
    """
    place = opened(out)
    at_work = running(place.lock_file)
    result: dict[str, Any] = {
        "out": str(place.out),
        "coordinator": None if at_work is None else {"host": at_work["host"], "pid": at_work["pid"]},
    }
    try:
        with closing(Index(place.index_file, read_only=True)) as index:
            counts = index.counts()
            standing = index.fact("standing") if at_work else None
            bad = index.scans("failed", "gate-failed", limit=FAILURES_SHOWN)
            rows = index.scans() if every else []
    except sqlite3.OperationalError:
        # Made again by the next run; until then the finished results tell what they can.
        return result | {"index": "missing", "counts": _counted(place), "scans": None, "standing": None, "failures": []}
    result |= {"index": "ok", "scans": sum(counts.values()), "counts": counts, "standing": standing}
    result["failures"] = [_line(scan, anonymous=place.anonymous) for scan in bad]
    if (more := counts["failed"] + counts["gate-failed"] - len(bad)) > 0:
        result["failures_left_out"] = more
    if every:
        result["rows"] = [_line(scan, anonymous=place.anonymous) for scan in rows]
    return result


def verify(out: Path) -> list[dict[str, Any]]:
    """Finished results of which a file is missing or not as it was written; reads every file."""
    from medldm.batch.finished import damaged, manifests

    place = opened(out)
    found = ((name, damaged(place, manifest)) for name, manifest in manifests(place))
    return [{"name": name, "files": files} for name, files in found if files]


def _line(scan: Scan, *, anonymous: bool) -> dict[str, Any]:
    fields = {
        "number": scan.number,
        "name": scan.name,
        "state": scan.state,
        "attempts": scan.attempts,
        "seconds": None if scan.seconds is None else round(scan.seconds, 2),
        "code": scan.code,
        "reason": "" if anonymous else scan.reason,
    }
    return {key: value for key, value in fields.items() if value not in (None, "")}


def _counted(place: Workplace) -> dict[str, int]:
    from medldm.batch.finished import manifests

    counts: dict[str, int] = dict.fromkeys(STATES, 0)
    for _, manifest in manifests(place):
        counts[manifest["state"]] += 1
    return counts
