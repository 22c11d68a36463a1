"""A batch from its inputs to its last scan: the file to read first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from medldm.batch.bids_dataset import describe_derivatives
from medldm.batch.cluster import start_engine
from medldm.batch.coordinator import Coordinator, Standing
from medldm.batch.engine import Engine
from medldm.batch.index import Index, Scan
from medldm.batch.lock import CoordinatorLock
from medldm.batch.pages import refresh_index
from medldm.batch.planning import Recipes, plan_batch
from medldm.batch.settings import Settings
from medldm.batch.source import Source
from medldm.batch.workplace import Workplace
from medldm.errors import BatchFailed
from medldm.host import Host
from medldm.pipeline.events import Listener
from medldm.pipeline.output import require_outside

_SHOWN = 20


@dataclass(frozen=True)
class Workforce:
    """Who works: see :func:`medldm.batch.cluster.start_engine`."""

    workers: int | None = None
    cluster: str | None = None
    slurm: Sequence[str] = ()
    listeners: Sequence[Listener] = ()

    def start(self, device: str) -> Engine:
        """The engine."""
        return start_engine(self.workers, self.cluster, self.slurm, device, self.listeners)


@dataclass(frozen=True)
class Watchers:
    """Who is told of what: sentences for a person, the standing, and the end."""

    say: Callable[[str], None] = field(default=lambda sentence: None)
    standing: Callable[[Standing], None] = field(default=lambda standing: None)


def run_batch(
    host: Host,
    source: Source,
    out: Path,
    settings: Settings,
    workforce: Workforce,
    watchers: Watchers,
    *,
    retry: bool = False,
) -> list[Scan]:
    """Reconstruct all scans that are not done yet.

    Args:
        host: plugins.
        source: the scans.
        out: folder of the results.
        settings: of the batch.
        workforce: who works.
        watchers: who is told.
        retry: begin scans anew that had been given up.

    Returns:
        The lines of the index, see :func:`check_all_done`.

    Raises:
        KeyboardInterrupt: it was cancelled; the next run goes on.
        MedldmError: E-BAT-07 another coordinator is at work, E-BAT-08 results of other jobs are there, E-BAT-10 the
            disk is full, or what recipe, prior or cluster refuse.
    """
    require_outside(out, source.path)
    place = Workplace(out.absolute(), bids=source.bids, anonymous=settings.anonymous)
    recipes = Recipes(host, settings)
    for row in source.rows:
        recipes.of(row)
    place.make()
    if source.bids:
        describe_derivatives(source.path, place.out)
    with CoordinatorLock(place.lock_file, told=watchers.say), closing(Index(place.index_file)) as index:
        place.cancel_file.unlink(missing_ok=True)
        try:
            plan_batch(index, place, settings, source.rows, recipes)
            if retry:
                again = index.scans("failed")
                index.update_many((scan.key, {"state": "waiting", "attempts": 0, "crashes": 0}) for scan in again)
            index.set_fact("source", str(source.path.absolute()))
            if index.scans("waiting", limit=1):
                _work(index, place, settings, recipes, workforce, watchers)
        finally:
            place.cancel_file.unlink(missing_ok=True)
            if (page := refresh_index(place.out)) is not None:
                watchers.say(f"all results on one page: {page}")
        return index.scans()


def _work(
    index: Index, place: Workplace, settings: Settings, recipes: Recipes, workforce: Workforce, watchers: Watchers
) -> None:
    engine = workforce.start(settings.device)
    at_once = True
    try:
        if engine.dashboard:
            watchers.say(f"what the workers do: {engine.dashboard}")
        coordinator = Coordinator(index, place, settings, recipes, engine, watchers.standing)
        finished = coordinator.run()
        at_once = False
    finally:
        engine.close(at_once=at_once)
    if not finished:
        raise KeyboardInterrupt


def check_all_done(scans: Sequence[Scan]) -> None:
    """Refuse to call a batch done of which some scans failed.

    Raises:
        BatchFailed: E-BAT-09, with the list and the codes of the reasons, which were told when they arose.
    """
    bad = [scan for scan in scans if scan.state in ("failed", "gate-failed")]
    if not bad:
        return
    shown = ", ".join(f"{scan.label}: {scan.code}" for scan in bad[:_SHOWN])
    more = f", and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    raise BatchFailed(
        "E-BAT-09",
        f"{len(bad)} of {len(scans)} scans failed: {shown}{more}.",
        why="The others are finished and whole.",
        fix="medldm batch status OUT says why; medldm batch retry OUT begins them again.",
    )


def told(code: str, reason: str, *, anonymous: bool) -> str:
    """A failure in words; its code alone where inputs must not be named, for reasons quote the names of files."""
    return code if anonymous else plain(f"{code} {reason}".strip())


def plain(text: str) -> str:
    """Text for a screen: names of files may hold control characters, which a terminal obeys."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
