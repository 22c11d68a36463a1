"""The index of a batch: a table of its scans, for quick answers. The truth are the manifests of finished results.

Only the coordinator writes it. When it is lost, ``medldm batch run`` makes it again from rows and manifests.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medldm.errors import MedldmError

State = Literal["waiting", "running", "done", "gate-failed", "failed"]
STATES: tuple[State, ...] = ("waiting", "running", "done", "gate-failed", "failed")

_TABLES = """
CREATE TABLE IF NOT EXISTS scans (
    key TEXT PRIMARY KEY, number INTEGER NOT NULL, name TEXT NOT NULL, row TEXT NOT NULL, cost REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0,
    level INTEGER NOT NULL DEFAULT 0, code TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '',
    seconds REAL, job TEXT NOT NULL DEFAULT '', mark TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_state ON scans (state, number);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Scan:
    """One line of the index.

    Attributes:
        key: of the row.
        number: in the order of the manifest, from 1.
        name: of the result; empty until its job is known where results are named by their hash.
        row: as JSON.
        cost: estimate that orders the scans and tells the time left, in bytes times steps.
        state: ``waiting``, ``running``, ``done``, ``gate-failed`` (done, but a check says no) or ``failed``.
        attempts: that failed.
        crashes: how often the whole program ended while this scan was in work.
        level: how many times its slices at once were halved for want of memory.
        code, reason: of the last failure.
        seconds: of the attempt that succeeded.
        job: its identity, when finished.
        mark: fingerprint of its input.
    """

    key: str
    number: int
    name: str
    row: str
    cost: float
    state: State
    attempts: int
    crashes: int
    level: int
    code: str
    reason: str
    seconds: float | None
    job: str
    mark: str

    @property
    def label(self) -> str:
        """Its name, or its number where names must not be told."""
        return self.name or f"scan {self.number}"


_COLUMNS = ", ".join(Scan.__dataclass_fields__)


class Index:
    """An open index.

    Args:
        path: of the SQLite file.
        read_only: for looking at a batch that another program runs.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        if read_only:
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
        else:
            self._db = sqlite3.connect(path, timeout=10)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_TABLES)

    def close(self) -> None:
        """Close it."""
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction.

        Raises:
            MedldmError: E-BAT-10 the disk is full.
        """
        try:
            with self._db:
                yield self._db
        except sqlite3.OperationalError as error:
            if "full" not in str(error):
                raise
            raise disk_full() from error

    def replace_all(self, scans: Iterable[tuple[str, int, str, str, float]]) -> None:
        """Make these ``(key, number, name, row, cost)`` the scans of the batch; what is known of them is kept."""
        with self.writing() as db:
            db.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (key TEXT PRIMARY KEY) WITHOUT ROWID")
            db.execute("DELETE FROM wanted")
            lines = list(scans)
            db.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", [(line[0],) for line in lines])
            db.executemany(
                "INSERT INTO scans (key, number, name, row, cost) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE "
                "SET number = excluded.number, cost = excluded.cost",
                lines,
            )
            db.execute("DELETE FROM scans WHERE key NOT IN (SELECT key FROM wanted)")

    def update(self, key: str, **fields: Any) -> None:
        """Change fields of a scan."""
        self.update_many([(key, fields)])

    def update_many(self, changes: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Change fields of several scans, all or none."""
        with self.writing() as db:
            for key, fields in changes:
                names = ", ".join(f"{name} = ?" for name in fields)
                db.execute(f"UPDATE scans SET {names} WHERE key = ?", (*fields.values(), key))

    def scans(self, *states: State, limit: int | None = None) -> list[Scan]:
        """The scans in these states, all when none is named, in the order of the manifest."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        most = "" if limit is None else f"LIMIT {limit}"
        found = self._db.execute(f"SELECT {_COLUMNS} FROM scans {where} ORDER BY number {most}", states)
        return [Scan(*line) for line in found]

    def counts(self) -> dict[State, int]:
        """How many scans are in each state."""
        found = dict(self._db.execute("SELECT state, COUNT(*) FROM scans GROUP BY state"))
        return {state: found.get(state, 0) for state in STATES}

    def cost(self, *states: State) -> float:
        """Estimated cost of all scans in these states."""
        marks = ", ".join("?" * len(states))
        line = self._db.execute(f"SELECT TOTAL(cost) FROM scans WHERE state IN ({marks})", states).fetchone()
        return float(line[0])

    def set_fact(self, name: str, value: Any) -> None:
        """Keep something about the whole batch, as JSON."""
        with self.writing() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def fact(self, name: str) -> Any:
        """What :meth:`set_fact` kept; None when there is nothing."""
        line = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if line is None else json.loads(line[0])


def disk_full() -> MedldmError:
    """The refusal to go on when the disk is full."""
    return MedldmError(
        "E-BAT-10",
        "The disk of the output folder is full.",
        why="No further scan could be written; what is finished is whole, and no scan was given up for it.",
        fix="Free some space and run the same command again: it goes on where it stopped.",
    )
