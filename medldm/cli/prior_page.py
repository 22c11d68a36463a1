"""Priors on the screen: the list, a card as a page, the outcome of a check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medldm.priors.card import GRID_FACTS, PriorCard, Range
from medldm.priors.catalogue import VARIABLE, PriorRow

if TYPE_CHECKING:
    from medldm.testing.checks import CheckRow


def listed(console: Console, rows: Sequence[PriorRow]) -> None:
    """The priors as a table, the problems of broken ones below it."""
    if not rows:
        console.print("No prior is installed.")
        console.print(f"Set {VARIABLE} to the folders that hold yours; 'medldm train' makes one.", highlight=False)
        console.print("'medldm priors import' brings in one of another program.", highlight=False)
        return
    table = Table()
    for heading in ("prior", "for", "what it is", "size", "status"):
        table.add_column(heading, no_wrap=heading != "what it is", overflow="fold")
    for row in rows:
        status = "[red]broken[/]" if row.problem else "[green]ok[/]"
        words = (row.name, row.modality, row.summary, _size(row.bytes))
        table.add_row(*(escape(text) for text in words), status)
    console.print(table)
    for root in dict.fromkeys(row.folder.parent for row in rows):
        names = ", ".join(row.name for row in rows if row.folder.parent == root)
        console.print(f"in {escape(str(root))}: {escape(names)}", highlight=False, soft_wrap=True)
    for row in rows:
        if row.problem:
            console.print(f"[red]{escape(row.name)} {row.code}[/]: {escape(row.problem)}", highlight=False)


def page(console: Console, card: PriorCard, folder: Path) -> None:
    """A card as a page for a person who wonders whether to use the prior."""
    console.print(f"[bold]{escape(card.name)}[/]  {escape(card.summary)}", highlight=False)
    console.print(f"[yellow]{escape(card.intended_use)}[/]\n", highlight=False)
    for title, lines in (
        ("For which scans", _scans(card)),
        ("What it is", _networks(card, folder)),
        ("What it was trained on", _training(card)),
        ("What was measured", _flat(card.quality)),
    ):
        rows = list(lines)
        if not rows:
            continue
        console.print(f"[bold]{title}[/]")
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for label, value in rows:
            table.add_row(f"  {escape(label)}", escape(value))
        console.print(table)
        console.print()


def checked(console: Console, rows: Sequence[CheckRow]) -> None:
    """The outcome of a check, one row per law."""
    table = Table()
    for heading in ("law", "result", "why"):
        table.add_column(heading, overflow="fold")
    colour = {"ok": "green", "failed": "red", "skipped": "yellow"}
    said: set[str] = set()
    for row in rows:
        why = "as above" if row.message in said else row.message
        said |= {row.message} if row.message else set()
        table.add_row(escape(row.law), f"[{colour[row.status]}]{row.status}[/]", escape(why))
    console.print(table)


def _scans(card: PriorCard) -> Iterator[tuple[str, str]]:
    intensity, size = card.intensity, card.size
    yield "modality", " ".join(part for part in (card.modality, card.anatomy) if part)
    if intensity.rule == "window":
        yield "values", f"{intensity.low:g} to {intensity.high:g} {card.quantity}"
    else:
        yield "values", f"{card.quantity}, 0 to the {intensity.percentile:g}th percentile of the scan"
    images = "volumes" if card.dimensions == 3 else f"slabs of {card.slab} slices" if card.slab > 1 else "single slices"
    turns = "" if card.cube is None else f", by turns where the edges of a voxel differ at most {card.cube:g} times"
    yield "sees", images + (f", {', '.join(card.planes)}{turns}" if card.dimensions == 2 else "")
    yield "spacing", _range(card.spacing_mm)
    if card.slice_spacing_mm is not None:
        yield "slices apart", _range(card.slice_spacing_mm)
    largest = "" if size.at_most is None else f", larger than {size.at_most} in tiles"
    yield "sizes", f"padded to multiples of {size.multiple}, at least {size.at_least}{largest}"
    yield "complex images", "of known phase" if card.complex == "phase-frozen" else "real and imaginary part"
    for name, values in card.facts.classes.items():
        yield f"told {name}", _told(card, name, " | ".join(values))
    for name in card.facts.numbers:
        yield f"told {name}", _told(card, name, "a number")


def _told(card: PriorCard, name: str, possible: str) -> str:
    if name in card.facts.fixed:
        return f"{card.facts.fixed[name]} (always)"
    return f"{possible} ({'by the scan' if name in ('modality', *GRID_FACTS) else 'by the recipe, or unknown'})"


def _networks(card: PriorCard, folder: Path) -> Iterator[tuple[str, str]]:
    yield "family", card.family
    unit = "model values" if card.latent is None else "units of its latents"
    if card.sigma is not None:
        levels = f"{card.sigma.low:.3g} to {card.sigma.high:.3g}"
        yield "predicts", f"{card.prediction.kind}, for noise of {levels} in {unit}"
    if card.regression is not None:
        start = card.regression.start.get("solver", "the start image of the physics")
        yield "predicts", f"the image from one start image: {start} of {card.regression.recipe}; no diffusion prior"
        yield "measured by", ", ".join((card.regression.physics, *_words(card.regression.options)))
    if card.latent is not None:
        yield "latent", f"gain {card.latent.gain:.3g}, error {card.latent.error:.3g}, scale {card.latent.scale:.3g}"
    for role, weights in card.weights.items():
        path = folder / weights.file
        size = _size(path.stat().st_size) if path.is_file() else "missing"
        yield role, f"{weights.file}, {size}, sha256 {weights.sha256[:12]}..."
    yield "licence", card.licence


def _training(card: PriorCard) -> Iterator[tuple[str, str]]:
    for source in card.training.data:
        terms = "; ".join(part for part in (source.licence, source.attribution) if part)
        yield "data", f"{source.name} ({terms})" if terms else source.name
    for command in card.training.commands:
        yield "made by", command
    yield from _flat(card.training.figures)


def _flat(figures: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        path = f"{above} {name}".strip().replace("_", " ")
        if isinstance(value, Mapping) and not ({"bound", "value"} & set(value)):
            yield from _flat(value, path)
        elif isinstance(value, Mapping):
            rest = ", ".join(f"{key} {inner}" for key, inner in value.items() if key not in ("bound", "value"))
            yield path, f"{value.get('bound', value.get('value'))}" + (f" ({rest})" if rest else "")
        elif isinstance(value, list) and len(value) > 8 and not isinstance(value[0], str):
            yield path, f"{len(value)} numbers, last {value[-1]}"
        elif isinstance(value, list) and value:
            yield path, "\n".join(str(inner) for inner in value)
        elif value != []:
            yield path, str(value)


def _words(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from (f"{name} {word}" for word in _words(value))
        elif value is not None:
            yield f"{name} {value}"


def _size(n: int) -> str:
    return f"{n / 2**20:.1f} MiB" if n >= 2**20 / 2 else f"{n / 2**10:.0f} KiB"


def _range(range_: Range) -> str:
    return f"{range_.low:g} mm" if range_.low == range_.high else f"{range_.low:g} to {range_.high:g} mm"
