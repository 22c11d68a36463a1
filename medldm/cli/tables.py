"""Tables that several commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Metrics in the order people look for them; the rest follows by name.
_FIRST = ("psnr", "ssim", "nrmse", "dz_ratio")


def ordered(names: Sequence[str]) -> list[str]:
    """Metric names, the usual ones first."""
    return sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))


def main_metrics(values: Mapping[str, float]) -> list[str]:
    """The few metrics that fit beside each other; ``run.json`` holds all."""
    return [name for name in _FIRST if name in values]


def print_metrics(console: Console, record: Mapping[str, Any]) -> None:
    """Baseline and reconstruction side by side, with chi and time."""
    metrics = record["metrics"]
    title = "SIMULATED measurement" if record["simulated"] else None
    table = Table(title=title, caption=f"{record['notice']}", show_header=True)
    table.add_column("", style="bold")
    names = main_metrics(metrics.get("reconstruction", {}))
    for name in names:
        table.add_column(name, justify="right")
    for image, values in metrics.items():
        table.add_row(image, *(f"{values[name]:.4g}" if name in values else "" for name in names))
    if names:
        console.print(table)
    chi = ", ".join(f"{value:.3g}" for value in record["chi"])
    seconds = sum(record["seconds"].values())
    peak = record["peak_memory_bytes"] / 2**30
    console.print(f"chi {chi}, {seconds:.1f} s, peak memory {peak:.2f} GiB", highlight=False)
    for sentence in record["gates_failed"]:
        console.print(f"[red]gate failed[/] {sentence}", highlight=False)


def print_calibration(console: Console, values: Mapping[str, Any]) -> None:
    """Coverage of the predictive intervals, and error against spread.

    Samples of a solver that does not draw from the posterior have no intervals, and the lines say so.
    """
    exact, solver = values.get("exact"), escape(str(values.get("solver") or "the solver"))
    table = Table(
        "interval" if exact else "taken as interval",
        "covers",
        title=f"{values['samples']} samples, {values['voxels']} voxels of the object",
    )
    for level, covered in values["coverage"].items():
        table.add_row(f"{float(level):.0%}", f"{covered:.1%}")
    console.print(table)
    if exact:
        sentence = f"{solver} draws from the posterior: these are its predictive intervals"
    elif exact is None:
        sentence = "[yellow]whether the solver draws from the posterior is not known[/]: these may be mere spreads"
    else:
        sentence = (
            f"[yellow]{solver} does not claim to draw from the posterior[/]: these are spreads of its samples taken as "
            "intervals, and need not cover what they name; split-gibbs has intervals"
        )
    console.print(sentence, highlight=False)
    if values.get("model_error"):
        console.print(
            f"a model error of {values['model_error']:.4g}, which all samples share, is part of the intervals",
            highlight=False,
        )
    table = Table("spread (rms)", "error (rms)", title="tenths of the voxels by rising spread")
    for part in values["bins"]:
        table.add_row(f"{part['spread']:.4g}", f"{part['error']:.4g}")
    console.print(table)
    if values["ratio"] is not None:
        console.print(
            f"calibration ratio {values['ratio']:.3g}: rms error {values['rms_error']:.4g} over the rms spread "
            f"{values['rms_spread']:.4g} times sqrt(1 + 1/n); 1 is right, above 1 the spread is too small",
            highlight=False,
        )
