"""What a person or a program sees while medldm works."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from medldm.pipeline.events import Event

LINE_EVERY_SECONDS = 10.0


class Reporter:
    """Listener of pipeline events: a bar on a terminal, a line per 10 s elsewhere, NDJSON with ``--json``.

    Args:
        as_json: one JSON object per event on standard output; everything for people is silent.
        quiet: warnings only.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        self.console = Console(stderr=True, quiet=as_json)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._line_at = 0.0

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_bar()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self.as_json:
            fields = json.dumps({"event": event.stage, "message": event.message, **event.fields}, default=str)
            sys.stdout.write(fields + "\n")
            sys.stdout.flush()
        elif event.stage == "step":
            self._step(event)
        elif event.stage == "warning":
            self.console.print(f"[yellow]warning[/] {event.message}", highlight=False)
        elif not self.quiet and event.stage not in ("save", "done"):
            self._close_bar()
            self.console.print(f"[cyan]{event.stage:>9}[/]  {event.message}", highlight=False)

    def _step(self, event: Event) -> None:
        if self.quiet:
            return
        index, total = int(event.fields["index"]), int(event.fields["total"])
        if self.console.is_terminal:
            if self._bar is None:
                columns = (TextColumn("[cyan]{task.description:>9}[/] "), BarColumn(), MofNCompleteColumn())
                self._bar = Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True)
                self._bar.start()
                self._task = self._bar.add_task("step", total=total)
            if self._task is not None:
                self._bar.update(self._task, completed=index)
        elif time.monotonic() - self._line_at > LINE_EVERY_SECONDS:
            self._line_at = time.monotonic()
            self.console.print(f"     step  {event.message}", highlight=False)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None
