"""``medldm inspect``."""

from __future__ import annotations

import typer

from medldm.cli import options
from medldm.cli.session import finish, session_of


def command(
    context: typer.Context,
    path: options.Input,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Show the scans under a path: geometry, and problems with their codes.

    Of images headers are read only; of raw data the samples, which alone tell what was measured and how noisy it is.

    Examples:
        medldm inspect ct-folder/

        medldm inspect brain.nii.gz --json
    """

    def work() -> None:
        import json
        import sys
        from dataclasses import asdict

        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        from medldm.errors import InputRefused
        from medldm.pipeline.reading import inspect

        rows = inspect(session_of(context).host(), path)
        if as_json:
            sys.stdout.write(json.dumps({"event": "series", "rows": [asdict(row) for row in rows]}) + "\n")
        else:
            table = Table("#", "format", "kind", "files", caption="shape and spacing along z, y, x")
            for title in ("shape", "spacing mm", "axes"):
                table.add_column(title, no_wrap=True)
            for row in rows:
                table.add_row(
                    f"#{row.index}",
                    row.format,
                    row.modality,
                    str(row.files),
                    "" if row.shape is None else "x".join(map(str, row.shape)),
                    "" if row.spacing is None else " ".join(f"{step:.3g}" for step in row.spacing),
                    row.orientation or "",
                )
            console = Console()
            console.print(table)
            colours = {"note": "cyan", "warning": "yellow", "error": "red"}
            for row in rows:
                # Below the table, which would fold a measurement's geometry into a column of single words.
                if row.description:
                    console.print(f"#{row.index} " + escape(row.description), highlight=False)
                for problem in row.problems:
                    line = f"[{colours[problem.severity]}]#{row.index} {problem.severity} {problem.code}[/] "
                    console.print(line + escape(f"{problem.sentence} {problem.remedy}".strip()), highlight=False)
        readable = [row for row in rows if all(problem.severity != "error" for problem in row.problems)]
        if not readable:
            raise InputRefused(
                "E-IN-05",
                f"Nothing under {path} can be reconstructed as it is.",
                why="The problems are listed with each series.",
                fix="Each problem names what would make it readable.",
            )

    finish(work, as_json=as_json, verbose=verbose)
