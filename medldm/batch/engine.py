"""Where attempts run: in this process, one after the other, or on workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from medldm.batch.order import Order, Outcome
from medldm.batch.task import work_on
from medldm.pipeline.events import Listener


class Engine(Protocol):
    """Takes orders and gives outcomes. Only the coordinator keeps a queue."""

    @property
    def slots(self) -> int:
        """How many orders can run at the same time now; it changes as workers come and go."""
        ...

    @property
    def busy(self) -> int:
        """How many attempts have not ended."""
        ...

    @property
    def dashboard(self) -> str:
        """Address of a page on what the workers do; empty without one."""
        ...

    def submit(self, order: Order) -> None:
        """Begin an attempt."""
        ...

    def outcomes(self, timeout: float) -> list[Outcome]:
        """The attempts that have ended, after ``timeout`` seconds at the latest where they run elsewhere."""
        ...

    def close(self, *, at_once: bool = False) -> None:
        """Let the workers go."""
        ...


class InProcess:
    """One scan at a time in this process: plugins and prior are loaded once.

    Args:
        listeners: of the reconstruction's events.
    """

    slots = 1
    dashboard = ""

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self.listeners = listeners
        self._order: Order | None = None

    @property
    def busy(self) -> int:
        return int(self._order is not None)

    def submit(self, order: Order) -> None:
        self._order = order

    def outcomes(self, timeout: float) -> list[Outcome]:
        if self._order is None:
            return []
        order, self._order = self._order, None
        return [work_on(order, may_kill=False, listeners=self.listeners)]

    def close(self, *, at_once: bool = False) -> None:
        self._order = None
