"""``medldm batch status``, ``cancel`` and ``clean``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medldm.cli import options
from medldm.cli.counts import counted, throughput
from medldm.cli.durations import seconds
from medldm.cli.session import finish

_Out = Annotated[Path, typer.Argument(help="Output folder of a batch.")]


def status(
    out: _Out,
    rows: Annotated[bool, typer.Option("--rows", help="List every scan, not only those that failed.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every result and compare it with its manifest.")
    ] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """How a batch stands: counts, throughput, time left, and what failed. Also while it runs.

    Examples:
        medldm batch status out

        medldm batch status out --json --rows
    """

    def work() -> None:
        import json
        import sys

        from medldm.batch.status import status as standing_of
        from medldm.batch.status import verify as damaged_in
        from medldm.errors import MedldmError

        found = standing_of(out, every=rows)
        bad = damaged_in(out) if verify else []
        if verify:
            found["damaged"] = bad
        if as_json:
            sys.stdout.write(json.dumps({"event": "status", **found}) + "\n")
        else:
            _print(found)
        if bad:
            raise MedldmError(
                "E-BAT-21",
                f"{len(bad)} results are damaged: {', '.join(one['name'] for one in bad[:10])}.",
                why="A file is missing or not as it was written.",
                fix="Run the batch again: what is damaged is reconstructed anew once its folder is removed.",
            )

    finish(work, as_json=as_json, verbose=verbose)


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from medldm.cli.durations import in_time

    console = Console()
    at_work = found["coordinator"]
    who = f"process {at_work['pid']} on {at_work['host']} is at work" if at_work else "nobody is at work"
    parts = [f"{count} {state}" for state, count in found["counts"].items() if count]
    console.print(f"{', '.join(parts) or 'no scans'}; {who}", highlight=False)
    standing = found["standing"] or {}
    if standing.get("per_hour"):
        workers = counted(standing["workers"], "worker")
        console.print(f"{throughput(standing['per_hour'])} on {workers}", highlight=False)
    if standing.get("seconds_left"):
        console.print(f"about {in_time(standing['seconds_left'])} left", highlight=False)
    if found["index"] == "missing":
        console.print("the index is missing; the next run makes it again from the results", highlight=False)
    lines = found.get("rows", found["failures"])
    if lines:
        table = Table()
        for heading in ("scan", "state", "failures", "s", "why"):
            table.add_column(heading, overflow="fold")
        reasons: dict[str, list[str]] = {}
        for line in lines:
            code, name = line.get("code") or "", line.get("name") or f"scan {line['number']}"
            table.add_row(
                escape(name), line["state"], str(line.get("attempts", 0)), str(line.get("seconds") or ""), escape(code)
            )
            if code:
                reasons.setdefault(code, []).append(line.get("reason") or "")
        console.print(table)
        for code, told in reasons.items():
            alike = f" (and {len(told) - 1} more such)" if len(told) > 1 else ""
            console.print(f"{code}{alike}: {escape(told[0])}".rstrip(" :"), highlight=False)
    if found.get("failures_left_out"):
        console.print(f"and {found['failures_left_out']} more", highlight=False)
    for one in found.get("damaged", []):
        console.print(f"[red]damaged[/] {escape(one['name'])}: {escape(', '.join(one['files']))}", highlight=False)


def cancel(
    out: _Out,
    wait: Annotated[str, typer.Option("--wait", help="How long to wait for it to end.")] = "10m",
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Ask a running batch to stop: scans in work save their state after their step. The next run goes on.

    Example:
        medldm batch cancel out
    """

    def work() -> None:
        import json
        import sys
        import time

        from medldm.batch.lock import running
        from medldm.batch.workplace import opened
        from medldm.errors import MedldmError

        place = opened(out)
        until = time.monotonic() + seconds(wait)
        at_work = running(place.lock_file)
        if at_work is not None:
            place.cancel_file.touch()
        while running(place.lock_file) is not None:
            if time.monotonic() > until:
                raise MedldmError(
                    "E-BAT-22",
                    f"The batch has not stopped within {wait}.",
                    why="A step of its scans may take longer; it stops after it.",
                    fix="Wait, or end the coordinator; nothing finished is lost.",
                )
            time.sleep(0.2)
        if as_json:
            sys.stdout.write(json.dumps({"event": "cancel", "stopped": at_work is not None}) + "\n")
        else:
            typer.echo("stopped" if at_work else "nobody is at work there")

    finish(work, as_json=as_json, verbose=verbose)


def clean(
    out: _Out,
    states: Annotated[
        bool, typer.Option("--states", help="Saved states too: unfinished scans then begin anew.")
    ] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Remove what killed scans left half-done. Results, records and saved states stay.

    Example:
        medldm batch clean out
    """

    def work() -> None:
        import json
        import sys
        from dataclasses import asdict

        from medldm.batch.cleaning import clean as clear

        found = clear(out, states=states)
        if as_json:
            sys.stdout.write(json.dumps({"event": "clean", **asdict(found)}) + "\n")
            return
        removed, kept = counted(found.folders, "folder"), counted(found.kept, "state")
        typer.echo(f"{removed} removed, {found.bytes / 2**20:.1f} MiB freed, {kept} kept")
        if found.held:
            typer.echo(f"still being worked in: {counted(found.held, 'folder')}")

    finish(work, as_json=as_json, verbose=verbose)
