"""``medldm report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medldm.cli import options
from medldm.cli.session import finish


def command(
    folder: Annotated[Path, typer.Argument(help="Output folder of `medldm reconstruct`, or a folder of many.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; report.html in the folder if left out.")
    ] = None,
    index: Annotated[
        bool, typer.Option("--index", help="Write index.html over all output folders below the folder.")
    ] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Make the report of a reconstruction again, or an index of many.

    One self-contained page that loads nothing from anywhere; reconstruct writes it already.

    Examples:
        medldm report out

        medldm report out -o /tmp/report.html

        medldm report results --index
    """

    def work() -> None:
        import json
        import sys

        from medldm.batch.pages import write_page
        from medldm.errors import UsageError
        from medldm.report import write_report

        if index and out is not None:
            raise UsageError(
                "E-CLI-05", "--index and --out exclude each other.", fix="The index is index.html in the folder."
            )
        written = write_page(folder) if index else write_report(folder, out)
        if as_json:
            sys.stdout.write(json.dumps({"event": "report", "path": str(written)}) + "\n")
        else:
            typer.echo(bytes(written))  # as it lies on the disk, be it UTF-8 or not

    finish(work, as_json=as_json, verbose=verbose)
