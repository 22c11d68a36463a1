"""A folder into which scans come: each is taken when it has stopped growing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from medldm.batch.batch import Watchers, Workforce
from medldm.batch.coordinator import Coordinator
from medldm.batch.engine import Engine
from medldm.batch.fingerprint import fingerprint
from medldm.batch.folder_scan import Place, places, rows_of
from medldm.batch.found import LeftOut
from medldm.batch.index import Index, Scan
from medldm.batch.lock import CoordinatorLock
from medldm.batch.output_name import distinct
from medldm.batch.pages import refresh_index
from medldm.batch.planning import Recipes, plan_batch
from medldm.batch.row import Row
from medldm.batch.settings import Settings
from medldm.batch.workplace import Workplace
from medldm.host import Host
from medldm.pipeline.output import require_outside


class Arrivals:
    """The places below a folder, and since when each has been as it is. Asks the clock ``time.monotonic`` only.

    Args:
        host: whose readers look.
        folder: that is watched.
        quiet: seconds without any change after which a place counts as whole.
        clock: for tests.
    """

    def __init__(self, host: Host, folder: Path, quiet: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.host, self.folder, self.quiet, self.clock = host, folder, quiet, clock
        self._seen: dict[Path, tuple[str, float]] = {}
        self._taken: dict[Path, str] = {}

    def whole(self) -> Iterator[Place]:
        """Places that have been as they are for long enough, each once, and again when it changed."""
        now = self.clock()
        for place in places(self.host, self.folder):
            mark = fingerprint(self.host, place.path).mark
            before, since = self._seen.get(place.path, ("", now))
            if mark != before:
                self._seen[place.path] = mark, now
                since = now
            if now - since >= self.quiet and self._taken.get(place.path) != mark:
                self._taken[place.path] = mark
                yield place


def watch(
    host: Host,
    folder: Path,
    out: Path,
    settings: Settings,
    workforce: Workforce,
    watchers: Watchers,
    *,
    quiet: float = 60.0,
    every: float = 10.0,
    idle: float | None = None,
) -> list[Scan]:
    """Reconstruct what comes into a folder, until cancelled.

    Args:
        host: plugins.
        folder: that is watched.
        out: folder of the results.
        settings: of the batch.
        workforce: who works; started once.
        watchers: who is told.
        quiet: seconds without change after which a scan counts as whole.
        every: seconds between two looks.
        idle: end after so many seconds in which nothing came; None never does.

    Returns:
        The lines of the index.
    """
    require_outside(out, folder)
    place = Workplace(out.absolute(), anonymous=settings.anonymous)
    recipes = Recipes(host, settings)
    recipes.of(Row(folder))
    place.make()
    arrivals = Arrivals(host, folder, quiet)
    engine: Engine | None = None
    rows: dict[Path, list[Row]] = {}
    came = time.monotonic()
    with CoordinatorLock(place.lock_file, told=watchers.say), closing(Index(place.index_file)) as index:
        place.cancel_file.unlink(missing_ok=True)
        try:
            while not place.cancel_file.exists():
                fresh = list(arrivals.whole())
                for one in fresh:
                    rows[one.path] = _rows(host, one, folder, watchers)
                if any(rows[one.path] for one in fresh):
                    plan_batch(index, place, settings, _named(rows, settings), recipes)
                    engine = engine or workforce.start(settings.device)
                    Coordinator(index, place, settings, recipes, engine, watchers.standing).run()
                    refresh_index(place.out)
                    came = time.monotonic()
                if idle is not None and time.monotonic() - came > idle:
                    break
                time.sleep(every)
        finally:
            if engine is not None:
                engine.close()
            with suppress(OSError):
                place.cancel_file.unlink(missing_ok=True)
        return index.scans()


def _rows(host: Host, place: Place, folder: Path, watchers: Watchers) -> list[Row]:
    found, left = rows_of(host, place, folder)
    for one in left:
        watchers.say(_sentence(one, folder))
    return found


def _sentence(one: LeftOut, folder: Path) -> str:
    return f"left out: {one.code} {one.path.relative_to(folder)}: {one.reason}"


def _named(rows: dict[Path, list[Row]], settings: Settings) -> Sequence[Row]:
    every = [row for found in rows.values() for row in found]
    if settings.anonymous:
        return [replace(row, output="") for row in every]
    names = distinct([row.output for row in every])
    return [replace(row, output=name) for row, name in zip(every, names, strict=True)]
