"""The coordinator: gives scans to the engine, short ones first, and books what becomes of them."""

from __future__ import annotations

import heapq
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from medldm.batch.claim import state_mark
from medldm.batch.engine import Engine
from medldm.batch.index import Index, Scan, State, disk_full
from medldm.batch.order import Order, Outcome
from medldm.batch.planning import Recipes
from medldm.batch.retry import after
from medldm.batch.row import Row
from medldm.batch.settings import Settings
from medldm.batch.workplace import Workplace

_LOOK_SECONDS = 0.5
# How often those who ask from outside get fresh numbers.
_NOTE_SECONDS = 2.0
# Scans that the throughput is taken from.
_RECENT = 200


@dataclass
class Standing:
    """How a batch stands, for those who look on.

    Attributes:
        counts: scans by state.
        running: name and begin, on the clock ``time.monotonic``, of those in work.
        finished: scans that ended in this run.
        slots: workers there are.
        rate: estimated cost worked off per second; 0 before the first scan is done.
        left: estimated cost of what is not settled.
        last: the outcome that came last, with the scan's name.
    """

    counts: dict[State, int]
    running: dict[str, tuple[str, float]] = field(default_factory=dict)
    finished: int = 0
    slots: int = 1
    rate: float = 0.0
    left: float = 0.0
    begun: float = field(default_factory=time.monotonic)
    last: tuple[str, Outcome] | None = None

    @property
    def seconds_left(self) -> float | None:
        """Estimate; None before there is any."""
        return self.left / self.rate if self.rate else None

    @property
    def per_hour(self) -> float | None:
        """Scans that ended in this run, per hour; None before there is any."""
        elapsed = time.monotonic() - self.begun
        return 3600 * self.finished / elapsed if self.finished and elapsed > 0 else None


class Coordinator:
    """Runs all scans of an index that are waiting.

    Args:
        index: planned, see :func:`medldm.batch.planning.plan_batch`.
        place: the folders.
        settings: of the batch.
        recipes: of its rows.
        engine: where attempts run.
        watcher: called whenever something changes, and twice a second.
    """

    def __init__(
        self,
        index: Index,
        place: Workplace,
        settings: Settings,
        recipes: Recipes,
        engine: Engine,
        watcher: Callable[[Standing], None],
    ) -> None:
        self.index, self.place, self.settings, self.recipes = index, place, settings, recipes
        self.engine, self.watcher = engine, watcher
        self.standing = Standing(index.counts())
        self._waiting: list[tuple[float, int, float, int, Scan]] = []
        self._running: dict[str, tuple[Scan, Order, str]] = {}
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        self._full = False
        self._noted = 0.0

    def run(self) -> bool:
        """Work until nothing is waiting; False when it was cancelled before.

        Raises:
            MedldmError: E-BAT-10 the disk is full.
            KeyboardInterrupt: Ctrl-C; workers have saved their states.
        """
        now = time.monotonic()
        self._waiting = [(now, *_order_of(scan), scan) for scan in self.index.scans("waiting")]
        heapq.heapify(self._waiting)
        self.standing.counts = self.index.counts()
        self.standing.left = self.index.cost("waiting", "running")
        cancelled = False
        try:
            while (self._waiting and not cancelled and not self._full) or self._running:
                cancelled = cancelled or self.place.cancel_file.exists()
                if not cancelled and not self._full:
                    self._submit()
                self._tell()
                for outcome in self.engine.outcomes(_LOOK_SECONDS):
                    self._settle(outcome)
        except KeyboardInterrupt:
            self._drain()
            raise
        self._tell()
        if self._full:
            raise disk_full()
        return not (cancelled and self._waiting)

    def _submit(self) -> None:
        self.standing.slots = self.engine.slots
        while self._waiting and len(self._running) < self.standing.slots:
            wait = self._waiting[0][0] - time.monotonic()
            if wait > 0:
                if not self._running:
                    time.sleep(min(_LOOK_SECONDS, wait))
                return
            scan = heapq.heappop(self._waiting)[-1]
            order = self._order(scan)
            self._running[order.token] = scan, order, state_mark(order.work)
            self.index.update(scan.key, state="running")
            self._count(scan.state, "running")
            self.standing.running[order.token] = scan.label, time.monotonic()
            self.engine.submit(order)

    def _order(self, scan: Scan) -> Order:
        row = Row.from_dict(json.loads(scan.row))
        return Order(
            key=scan.key,
            token=secrets.token_hex(8),
            attempt=scan.attempts + 1,
            level=scan.level,
            row=row,
            recipe=self.recipes.order(row),
            plan=self.recipes.plan(row),
            settings=self.settings,
            place=self.place,
        )

    def _settle(self, outcome: Outcome) -> None:
        if outcome.token not in self._running:
            return  # of an attempt that was given up
        scan, order, saved_before = self._running.pop(outcome.token)
        name, begun = self.standing.running.pop(outcome.token)
        step = after(scan, order, outcome, saved_before)
        self.index.update(scan.key, **step.fields)
        self._count("running", step.fields["state"])
        if outcome.kind == "disk-full":
            self._full = True
        if step.wait is not None:
            changed = Scan(**{**scan.__dict__, **step.fields})
            heapq.heappush(self._waiting, (time.monotonic() + step.wait, *_order_of(changed), changed))
        else:
            self.standing.left -= scan.cost
            self.standing.finished += 1
            if outcome.kind in ("done", "gate-failed") and not outcome.again:
                self._measure(scan.cost, time.monotonic() - begun)
        self.standing.last = outcome.name or name, outcome
        self._tell()

    def _measure(self, cost: float, seconds: float) -> None:
        self._recent.append((cost, seconds))
        spent = sum(one[1] for one in self._recent)
        self.standing.rate = self.standing.slots * sum(one[0] for one in self._recent) / spent if spent else 0.0

    def _count(self, old: State, new: State) -> None:
        self.standing.counts[old] -= 1
        self.standing.counts[new] += 1

    def _tell(self) -> None:
        self.watcher(self.standing)
        if time.monotonic() - self._noted > _NOTE_SECONDS:
            self._noted = time.monotonic()
            standing = self.standing
            self.index.set_fact(
                "standing",
                {
                    "per_hour": standing.per_hour,
                    "seconds_left": standing.seconds_left,
                    "workers": standing.slots,
                    "running": [name for name, _ in standing.running.values()],
                },
            )

    def _drain(self) -> None:
        """Ctrl-C: workers are asked to stop after their step. A second Ctrl-C leaves at once."""
        self.place.cancel_file.touch()
        for scan, _, _ in self._running.values():
            self.index.update(scan.key, state="waiting")
        while self.engine.busy:
            for outcome in self.engine.outcomes(_LOOK_SECONDS):
                self._settle(outcome)
            self._tell()


def _order_of(scan: Scan) -> tuple[int, float, int]:
    """Those that were in work at a crash come last, short ones first."""
    return scan.crashes, scan.cost, scan.number
