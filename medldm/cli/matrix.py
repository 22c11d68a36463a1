"""The table of ``medldm plugins matrix``, for any width of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from medldm.testing.matrix import Pair

_COLOURS = {"yes": "green", "no": "red"}
_UNBOUNDED = 10_000  # characters, to ask how wide a table would be


def print_matrix(console: Console, pairs: Sequence[Pair]) -> None:
    """Which solvers run with which physics, and under it why the others do not.

    A terminal as wide as the table has a column for each solver. A narrower one has the same as two lists for each
    physics, because columns that are cut short tell nothing.

    Args:
        console: to print to.
        pairs: of all solvers with every physics.
    """
    runs = {(pair.physics, pair.solver): "yes" if pair.runs else "no" for pair in pairs}
    solvers = list(dict.fromkeys(pair.solver for pair in pairs))
    physics = list(dict.fromkeys(pair.physics for pair in pairs))
    table = _wide(physics, solvers, runs)
    if console.measure(table, options=console.options.update(width=_UNBOUNDED)).maximum > console.width:
        table = _narrow(physics, solvers, runs)
    console.print(table)
    for pair in pairs:
        for reason in pair.reasons:
            console.print(f"{escape(pair.solver)} with {escape(pair.physics)}: {escape(reason)}", highlight=False)


def _wide(physics: Sequence[str], solvers: Sequence[str], runs: dict[tuple[str, str], str]) -> Table:
    table = Table("physics", *map(escape, solvers))
    for name in physics:
        answers = [runs[name, solver] for solver in solvers]
        table.add_row(escape(name), *(f"[{_COLOURS[answer]}]{answer}[/]" for answer in answers))
    return table


def _narrow(physics: Sequence[str], solvers: Sequence[str], runs: dict[tuple[str, str], str]) -> Table:
    table = Table(show_lines=True)
    for heading in ("physics", "runs with", "does not run with"):
        table.add_column(heading, overflow="fold")
    for name in physics:
        lists = (", ".join(solver for solver in solvers if runs[name, solver] == answer) for answer in _COLOURS)
        coloured = (f"[{_COLOURS[a]}]{escape(text)}[/]" for a, text in zip(_COLOURS, lists, strict=True))
        table.add_row(escape(name), *coloured)
    return table
