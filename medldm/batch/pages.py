"""The page over all results of a batch; each result has its own report."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from medldm.batch.index import Index
from medldm.batch.status import FAILURES_SHOWN
from medldm.batch.workplace import opened
from medldm.errors import UsageError
from medldm.report import Missing, write_index

log = logging.getLogger("medldm")


def write_page(out: Path) -> Path:
    """Write ``index.html`` over the results below ``out``, with the scans that a batch there gave up.

    Made of what lies in the output folders and of the index of the batch, so that it can be made again at any time.

    Raises:
        InputRefused: E-REP-03 there is neither a result nor a scan that was given up.
    """
    return write_index(out, _given_up(out))


def _given_up(out: Path) -> list[Missing]:
    """The scans of a batch that have no result and will get none unless it is asked for."""
    try:
        place = opened(out)
        with closing(Index(place.index_file, read_only=True)) as index:
            failed = index.scans("failed", limit=FAILURES_SHOWN)
    except (UsageError, sqlite3.OperationalError):  # no batch, or its index is gone until the next run
        return []
    return [Missing(scan.label, scan.code, "" if place.anonymous else scan.reason) for scan in failed]


def refresh_index(out: Path) -> Path | None:
    """:func:`write_page`; None where there is nothing to show yet. A batch does not fail for it."""
    try:
        return write_page(out)
    except Exception as error:  # a record of another version, a full disk: the results count, not the page
        log.info("no index of the batch: %s", error)
        return None
