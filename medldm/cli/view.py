"""``medldm view``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medldm.cli import options
from medldm.cli.session import finish, session_of


def command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Output folder of `medldm reconstruct`.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of this computer; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Look at the volumes of a reconstruction at full size, in a browser on this computer.

    The page is served to this computer only, under an address with a random word in it. Ctrl-C ends it.

    Example:
        medldm view out
    """

    def work() -> None:
        import json
        import sys
        import webbrowser

        from medldm.report.serve import serve

        with serve(session_of(context).host(), folder, port) as server:
            if as_json:
                sys.stdout.write(json.dumps({"event": "view", "address": server.address}) + "\n")
                sys.stdout.flush()
            else:
                typer.echo(f"{server.address}\nCtrl-C ends it.")
            if browser:
                webbrowser.open(server.address)
            try:
                server.wait()
            except KeyboardInterrupt:
                typer.echo("", err=True)

    finish(work, as_json=as_json, verbose=verbose)
