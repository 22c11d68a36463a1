"""What a person or a program sees while medldm works."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from medldm.pipeline.events import Event

LINE_EVERY_SECONDS = 10.0
# What a reconstruction does after it has told of a stage. The stages tell of themselves when they have ended, and
# some take half a minute of a whole volume.
_NEXT = {
    "read": "preparing",
    "memory": "preparing",
    "simulate": "building the operator",
    "operator": "making the start image",
}
_WORKING = "working"


class Reporter:
    """Listener of pipeline events: a bar on a terminal, a line per 10 s elsewhere, NDJSON with ``--json``.

    Every loop of steps has a bar of its own. Where a reconstruction works without steps, a terminal shows a spinner.

    Args:
        as_json: one JSON object per event on standard output; everything for people is silent.
        quiet: warnings only.

    Attributes:
        console: standard error, for people.
        saved: whether the run has a state to go on from: it saved one, or began at one.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        self.console = Console(stderr=True, quiet=as_json)
        self.saved = False
        self._live: Progress | None = None
        self._task: TaskID | None = None  # of the steps; None where the live line is a spinner
        self._steps: tuple[int, int] | None = None
        self._reconstructs = False
        self._line_at = 0.0

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.stage in ("save", "resume"):
            self.saved = True
        if self.as_json:
            fields = json.dumps({"event": event.stage, "message": event.message, **event.fields}, default=str)
            sys.stdout.write(fields + "\n")
            sys.stdout.flush()
        elif event.stage == "step":
            self._step(event)
        elif event.stage == "warning":
            self.console.print(f"[yellow]warning[/] {escape(event.message)}", highlight=False)
        elif event.stage == "done":
            self._reconstructs = False
            self._close()
        elif not self.quiet and event.stage != "save":
            self._close()
            self.console.print(f"[cyan]{event.stage:>9}[/]  {escape(event.message)}", highlight=False)
            # Training reads no scan in this way: a thread that draws would be in the way of its forked workers.
            self._reconstructs = self._reconstructs or event.stage == "read"
            self._spin(_NEXT.get(event.stage, _WORKING))

    def _step(self, event: Event) -> None:
        if self.quiet:
            return
        index, total = int(event.fields["index"]), int(event.fields["total"])
        if self.console.is_terminal:
            self._draw(event.message, index, total)
        elif time.monotonic() - self._line_at > LINE_EVERY_SECONDS:
            self._line_at = time.monotonic()
            self.console.print(f"     step  {event.message}", highlight=False, markup=False)

    def _draw(self, message: str, index: int, total: int) -> None:
        # A trial runs two loops of different lengths: a count that falls back, or another total, begins a new bar,
        # whose time left is that of its own steps.
        same = self._task is not None and self._steps is not None and self._steps[1] == total and self._steps[0] < index
        if not same:
            self._close()
            loop, named, _ = message.partition(", step ")
            columns = (TextColumn("[cyan]{task.description:>9}[/] "), BarColumn(), MofNCompleteColumn())
            self._live = self._started(*columns, TimeRemainingColumn())
            self._task = self._live.add_task(loop if named else "step", total=total)
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=index)
        self._steps = (index, total)
        if index >= total and self._reconstructs:
            # What follows has no steps, and a full bar would say that all is done.
            self._close()
            self._spin(_WORKING)

    def _spin(self, what: str) -> None:
        if self._reconstructs and self.console.is_terminal:
            columns = (TextColumn(" " * 7), SpinnerColumn(), TextColumn(" {task.description}"))
            self._live = self._started(*columns, TimeElapsedColumn())
            self._live.add_task(what, total=None)

    def _started(self, *columns: ProgressColumn) -> Progress:
        # Standard output is left alone: it is for results, and the live line is drawn on standard error.
        live = Progress(*columns, console=self.console, transient=True, redirect_stdout=False)
        live.start()
        return live

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._live = self._task = self._steps = None
