"""``medldm``: the command line. This module loads nothing heavy, so that ``--help`` answers at once."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

import medldm
from medldm.cli import (
    batch,
    benchmark,
    demo,
    doctor,
    evaluate,
    fetch,
    inspect,
    plugins,
    priors,
    recipes,
    reconstruct,
    report,
    send,
    simulate,
    train,
    view,
)
from medldm.cli.failure import guarded
from medldm.cli.help_text import flow
from medldm.cli.session import Session
from medldm.pipeline.allocator import keep_freed_pages

EPILOG = (
    "Research use only; not a medical device.  "
    "Exit codes: 0 done, 1 unexpected, 2 usage or recipe, 3 input refused, 4 plugin or weights missing, "
    "5 out of memory, 6 quality gate failed, 7 batch partly failed, 130 interrupted."
)

app = typer.Typer(
    name="medldm",
    help="Reconstruct medical images: scans in, physics, priors and solvers as plugins, volumes out.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"medldm {medldm.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    allow: Annotated[
        str | None, typer.Option("--plugins", help="Load only these plugins besides the first-party ones: a,b")
    ] = None,
    block: Annotated[list[str] | None, typer.Option("--no-plugin", help="Never load this plugin.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    names = None if allow is None else tuple(name.strip() for name in allow.split(",") if name.strip())
    context.obj = Session(names, tuple(block or ()))


app.command("demo")(demo.command)
app.command("inspect")(inspect.command)
app.command("reconstruct")(reconstruct.command)
app.command("simulate")(simulate.command)
app.command("evaluate")(evaluate.command)
app.command("report")(report.command)
app.command("view")(view.command)
app.command("fetch")(fetch.command)
app.command("send")(send.command)
app.command("benchmark")(benchmark.command)
app.command("doctor")(doctor.command)
app.add_typer(batch.app, name="batch")
app.add_typer(train.app, name="train")
app.add_typer(priors.app, name="priors")
app.add_typer(recipes.app, name="recipes")
app.add_typer(plugins.app, name="plugins")
flow(app)


def main() -> None:
    """Entry point of the ``medldm`` script."""
    # Read when torch is loaded: waiting threads sleep. Spinning ones slow a shared machine down many times over.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_pages()
    warnings = logging.StreamHandler()
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(logging.Formatter("warning %(message)s"))
    logging.getLogger("medldm").addHandler(warnings)
    _add_plugin_commands()
    # Commands of medldm guard themselves; what those of plugins raise comes as far as here.
    code = guarded(app, as_json="--json" in sys.argv[1:], verbose=True, may_exit=True)
    if code:
        sys.exit(code)


def _add_plugin_commands() -> None:
    # Blocked plugins must not run code here either, so the flags are looked up before typer parses them.
    words = [part for word in sys.argv[1:] for part in (word.split("=", 1) if word.startswith("--") else [word])]
    block = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--no-plugin"]
    allow = next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "--plugins"), None)

    def load() -> None:
        from medldm.host import load_host

        load_host(None if allow is None else allow.split(","), block).call_add_commands(app)

    code = guarded(load, as_json="--json" in words)
    if code:
        sys.exit(code)
