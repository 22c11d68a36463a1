"""``medldm plugins``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medldm.cli import options
from medldm.cli.json_rows import print_rows
from medldm.cli.session import finish, session_of

if TYPE_CHECKING:
    from medldm.host import Entry, Host

app = typer.Typer(help="List, show and check plugins.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A plugin, a component, or kind/name such as writers/nifti.")]


@app.command("list")
def list_(context: typer.Context, as_json: options.Json = False) -> None:
    """List the installed plugins and their components, broken ones with their error.

    Example:
        medldm plugins list
    """

    def work() -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        rows = session_of(context).host().plugins
        if as_json:
            print_rows("plugins", [asdict(row) for row in rows])
            return
        console = Console()
        table = Table("plugin", "from", "status", "components")
        colour = {"ok": "green", "error": "red", "blocked": "yellow", "absent": "cyan"}
        for row in rows:
            table.add_row(
                escape(row.name),
                escape(f"{row.distribution} {row.version}"),
                f"[{colour[row.status]}]{row.status}[/]",
                escape("\n".join(row.components)),
            )
        console.print(table)
        for row in rows:
            if row.status != "ok":
                label = f"{row.name} {row.code}".strip()
                console.print(f"[{colour[row.status]}]{escape(label)}[/]: {escape(row.error)}", highlight=False)

    finish(work, as_json=as_json)


@app.command("show")
def show(context: typer.Context, name: Name, as_json: options.Json = False) -> None:
    """Show what a component is and all of its options; --json prints their JSON schema.

    Examples:
        medldm plugins show tv

        medldm plugins show writers/nifti --json
    """

    def work() -> None:
        host = session_of(context).host()
        entries = host.named(name)
        if as_json:
            print_rows("components", [_described(host, entry) for entry in entries])
            return
        for entry in entries:
            _print_component(host, entry)

    finish(work, as_json=as_json)


@app.command("check")
def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A plugin, a component, or kind/name; all when left out.")] = None,
    as_json: options.Json = False,
) -> None:
    """Run the conformance kit over the registered examples.

    Leaves with exit code 6 when a law does not hold or a plugin does not load.

    Examples:
        medldm plugins check

        medldm plugins check solvers/tv --json
    """

    def work() -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        from medldm.errors import GateFailed
        from medldm.testing.checks import run_checks

        rows = run_checks(session_of(context).host(), name)
        failed = [row for row in rows if row.status == "failed"]
        if as_json:
            print_rows("checks", [asdict(row) for row in rows])
        else:
            table = Table()
            for heading in ("component", "law", "result", "why"):
                table.add_column(heading, overflow="fold")
            colour = {"ok": "green", "failed": "red", "skipped": "yellow"}
            for row in rows:
                result = f"[{colour[row.status]}]{row.status}[/]"
                table.add_row(escape(row.component), escape(row.law), result, escape(row.message))
            Console().print(table)
        if failed:
            components = sorted({row.component for row in failed})
            raise GateFailed(
                "E-PLG-15",
                f"{len(failed)} of {len(rows)} checks failed, in {', '.join(components)}.",
                why="A component that breaks a law gives wrong images in some combination.",
                fix="See the sentence beside each failed law.",
            )
        if not as_json:
            Console().print(f"{len(rows)} checks, none failed.", highlight=False)

    finish(work, as_json=as_json)


@app.command("matrix")
def matrix(context: typer.Context, as_json: options.Json = False) -> None:
    """Show which solvers run with which physics, and why the others do not.

    Example:
        medldm plugins matrix
    """

    def work() -> None:
        from rich.console import Console

        from medldm.cli.matrix import print_matrix
        from medldm.testing.matrix import matrix as pairs_of

        pairs = pairs_of(session_of(context).host())
        if as_json:
            print_rows("matrix", [asdict(pair) for pair in pairs])
        else:
            print_matrix(Console(), pairs)

    finish(work, as_json=as_json)


def _described(host: Host, entry: Entry) -> dict[str, Any]:
    """A component as a JSON object; one that cannot be imported has an error in the place of its schema."""
    from medldm.errors import MedldmError

    try:
        return {**asdict(entry), "schema": host.schema(entry.kind, entry.name)}
    except MedldmError as error:
        return {**asdict(entry), "error": error.as_dict()}


def _print_component(host: Host, entry: Entry) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from medldm.host.option_schema import option_rows

    console = Console()
    facts = Table.grid(padding=(0, 2))
    for label, value in (
        ("component", f"{entry.kind}/{entry.name}"),
        ("summary", entry.summary),
        ("plugin", entry.plugin),
        ("class", entry.target),
        ("needs", ", ".join(entry.needs) or "nothing"),
    ):
        facts.add_row(f"[bold]{label}[/]", escape(value))
    console.print(facts)
    rows = option_rows(host.schema(entry.kind, entry.name))
    if not rows:
        console.print("It has no options.\n")
        return
    table = Table()
    for heading in ("option", "type", "default", "range", "meaning"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "option")
    for row in rows:
        table.add_row(*(escape(text) for text in (row.path, row.type, row.default, row.range, row.doc)))
    console.print(table)
