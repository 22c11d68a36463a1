"""A running batch on the screen: a live table, a line every ten seconds elsewhere, or NDJSON."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from medldm.batch.batch import plain, told
from medldm.batch.coordinator import Standing
from medldm.batch.index import Scan
from medldm.batch.order import Outcome
from medldm.cli.counts import counted, throughput
from medldm.cli.durations import in_time
from medldm.pipeline.events import Event

_LINE_EVERY_SECONDS = 10.0
_DRAW_EVERY_SECONDS = 0.2
_RUNNING_SHOWN = 8
_FAILURES_SHOWN = 5


class BatchDisplay:
    """Shows the standing of a batch; a context manager.

    Args:
        as_json: one JSON object per scan on standard output.
        quiet: warnings and failures only.
        anonymous: show codes, no reasons: they may quote the names of files.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, anonymous: bool = False) -> None:
        self.as_json, self.quiet, self.anonymous = as_json, quiet, anonymous
        self.console = Console(stderr=True, quiet=as_json)
        self._live: Live | None = None
        self._drawn = 0.0
        self._line = 0.0
        self._step = ""
        self._last: Outcome | None = None
        self._standing: Standing | None = None
        self._failures: list[str] = []

    def __enter__(self) -> BatchDisplay:
        if self.console.is_terminal and not self.quiet and not self.as_json:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self._standing is not None and not self.quiet and not self.as_json:
            self.console.print(_line(self._standing), highlight=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """A sentence for a person."""
        if self.as_json:
            _print_event({"event": "note", "message": sentence})
        else:
            self.console.print(escape(plain(sentence)), highlight=False, soft_wrap=True)

    def ended(self, out: Path, scans: Sequence[Scan]) -> None:
        """A last line for programs."""
        if self.as_json:
            counts = Counter(scan.state for scan in scans)
            _print_event({"event": "batch", "out": str(out), "scans": len(scans), "counts": dict(counts)})

    def event(self, event: Event) -> None:
        """What a scan in this process tells: its steps, and its warnings for programs."""
        if event.stage == "step":
            self._step = event.message
            if self._standing is not None:
                self.standing(self._standing)

    def standing(self, standing: Standing) -> None:
        """The coordinator's standing."""
        self._standing = standing
        if standing.last is not None and standing.last[1] is not self._last:
            self._last = standing.last[1]
            self._step = ""
            self._ended(*standing.last)
        now = time.monotonic()
        if self._live is not None:
            if now - self._drawn > _DRAW_EVERY_SECONDS:
                self._drawn = now
                self._live.update(self._table(standing), refresh=True)
        elif not self.quiet and not self.as_json and now - self._line > _LINE_EVERY_SECONDS:
            self._line = now
            self.console.print(_line(standing), highlight=False, soft_wrap=True)

    def _ended(self, name: str, outcome: Outcome) -> None:
        if self.as_json:
            fields = {key: value for key, value in outcome.as_dict().items() if value not in ("", 0, False)}
            if self.anonymous:
                fields.pop("reason", None)
            _print_event({"event": "scan", **fields, "name": name})
        elif outcome.kind not in ("done", "stopped", "busy"):
            self._failures.append(f"{name}: {told(outcome.code, outcome.reason, anonymous=self.anonymous)}")
            if self._live is None:
                self.console.print(
                    f"[yellow]{outcome.kind}[/] {escape(self._failures[-1])}", highlight=False, soft_wrap=True
                )

    def _table(self, standing: Standing) -> Group:
        settled = sum(standing.counts.values()) - standing.counts["waiting"] - standing.counts["running"]
        running = Table.grid(padding=(0, 2))
        for name, begun in list(standing.running.values())[:_RUNNING_SHOWN]:
            step = self._step if len(standing.running) == 1 else ""
            running.add_row("  ", escape(name), f"{time.monotonic() - begun:.0f} s", step)
        failures = [
            Text(f"  {one}", style="yellow", overflow="ellipsis", no_wrap=True)
            for one in self._failures[-_FAILURES_SHOWN:]
        ]
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(1, sum(standing.counts.values())), completed=settled, width=60))
        return Group(Text(_line(standing)), bar, running, *failures)


def _line(standing: Standing) -> str:
    counts = standing.counts
    parts = [f"{counts['done']} of {sum(counts.values())} done"]
    parts += [f"{counts[state]} {state}" for state in ("running", "waiting", "gate-failed", "failed") if counts[state]]
    if standing.per_hour is not None:
        parts.append(throughput(standing.per_hour))
    if standing.seconds_left is not None and counts["waiting"] + counts["running"]:
        parts.append(f"{in_time(standing.seconds_left)} left")
    parts.append(counted(standing.slots, "worker"))
    return ", ".join(parts)


def _print_event(fields: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fields, default=str) + "\n")
    sys.stdout.flush()
