"""``medldm recipes``."""

from __future__ import annotations

from typing import Annotated

import typer

from medldm.cli import options
from medldm.cli.session import finish

app = typer.Typer(help="List and show recipes.", no_args_is_help=True)


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """List the recipes that come with medldm.

    Example:
        medldm recipes list
    """

    def work() -> None:
        import json
        import sys

        from rich.console import Console
        from rich.table import Table

        from medldm.pipeline.recipe import load_recipe, shipped_recipes

        loaded = [load_recipe(path.stem) for path in shipped_recipes()]
        if as_json:
            rows = [{"name": recipe.name, **recipe.as_dict()} for recipe in loaded]
            sys.stdout.write(json.dumps({"event": "recipes", "rows": rows}) + "\n")
            return
        table = Table("name", "physics", "start", "solver")
        for recipe in loaded:
            start = str(recipe.start.get("solver", "of the physics"))
            table.add_row(recipe.name, recipe.physics, start, str(recipe.solver["name"]))
        Console().print(table)

    finish(work, as_json=as_json)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a path ending in .yaml.")],
    set_: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Print a recipe as it stands, or resolved with --json or --set.

    Examples:
        medldm recipes show ct-60-views

        medldm recipes show mri-4x --set solver.steps=20 --json
    """

    def work() -> None:
        import json
        import sys

        from medldm.pipeline.recipe import load_recipe, recipe_path

        recipe = load_recipe(name, set_ or [])
        if as_json or set_:
            resolved = {"name": recipe.name, "sha256": recipe.sha256, **recipe.as_dict()}
            sys.stdout.write(json.dumps(resolved, indent=None if as_json else 2) + "\n")
        else:
            sys.stdout.write(recipe_path(name).read_text(encoding="utf-8"))

    finish(work, as_json=as_json)
