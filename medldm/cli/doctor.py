"""``medldm doctor``."""

from __future__ import annotations

import typer

from medldm.cli import options
from medldm.cli.session import finish, session_of


def command(context: typer.Context, as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Check this machine: versions, devices, memory, disk, plugins, DICOM decoders. Opens no network connection.

    Example:
        medldm doctor
    """

    def work() -> None:
        import json
        import sys

        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        from medldm.pipeline.diagnosis import diagnose

        findings = diagnose(session_of(context).host())
        if as_json:
            rows = [{"check": f.check, "status": f.status, "finding": f.finding, "advice": f.advice} for f in findings]
            sys.stdout.write(json.dumps({"event": "doctor", "rows": rows}) + "\n")
            return
        table = Table("check", "", "finding", "advice")
        colours = {"ok": "[green]ok[/]", "note": "[cyan]note[/]", "problem": "[red]problem[/]"}
        for f in findings:
            table.add_row(f.check, colours[f.status], escape(f.finding), escape(f.advice))
        Console().print(table)

    finish(work, as_json=as_json, verbose=verbose)
