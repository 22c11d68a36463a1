"""One self-contained page a reconstruction, made from the files of its output folder and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from markupsafe import Markup

from medldm.aside import whole_file
from medldm.errors import InputRefused, UsageError
from medldm.pipeline.output import finished_record
from medldm.pipeline.pictures import PICTURES, Pictures, load_pictures
from medldm.pipeline.preview import planes_seen
from medldm.report import facts
from medldm.report.chart import Line, chart
from medldm.report.figures import colour_bar, figure, size_of
from medldm.report.methods import methods_text
from medldm.report.templating import inline, notices, plain, policy, render, source
from medldm.report.verdict import verdict_of
from medldm.report.viewer import embedded, viewer_code

REPORT = "report.html"
_TITLES = {
    "truth": "Truth",
    "baseline": "Start image",
    "reconstruction": "Reconstruction",
    "change": "Reconstruction − start image",
    "error": "Reconstruction − truth",
    "spread": "Spread of the samples",
    "prior-share": "Share of the prior",
}


def report_page(folder: Path, record: Mapping[str, Any]) -> list[Path]:
    """Write the report of a run into its folder; what the pipeline calls with ``pages``."""
    file = folder / REPORT
    file.write_text(page(record, load_pictures(folder / PICTURES)), encoding="utf-8")
    return [file]


def write_report(folder: str | Path, file: str | Path | None = None) -> Path:
    """Make the report of a finished output folder again.

    Args:
        folder: of ``medldm reconstruct``.
        file: to write; ``report.html`` in the folder when None.

    Raises:
        InputRefused: E-REP-01 no output folder, E-REP-02 it keeps no pictures.
        UsageError: E-OUT-04 the file cannot be written.
    """
    folder = Path(folder)
    record, pictures = read_folder(folder)
    target = folder / REPORT if file is None else Path(file)
    try:
        with whole_file(target) as aside:
            aside.write_text(page(record, pictures), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            "E-OUT-04", f"{target} cannot be written: {error.strerror}.", fix="Choose a file in a folder that exists."
        ) from error
    return target


def read_folder(folder: Path) -> tuple[dict[str, Any], Pictures]:
    """Record and pictures of an output folder.

    Raises:
        InputRefused: E-REP-01, E-REP-02.
    """
    record = finished_record(folder)
    if record is None:
        raise InputRefused(
            "E-REP-01",
            f"{folder} is no output folder of medldm reconstruct.",
            why="It has no run.json that can be read.",
            fix="Name a folder that `medldm reconstruct -o` made.",
        )
    try:
        return record, load_pictures(folder / PICTURES)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputRefused(
            "E-REP-02",
            f"{folder} has no {PICTURES} that can be read.",
            why="A report shows the pictures that the reconstruction left there; outputs.report: false leaves none.",
            fix="Reconstruct again with outputs.report: true.",
        ) from error


def page(record: Mapping[str, Any], pictures: Pictures) -> str:
    """The whole page as text."""
    style, script = source("style.css"), source("viewer.js")
    code = viewer_code()
    text, references = methods_text(record)
    heads, metric_rows = facts.metric_rows(record)
    return render(
        "report.html",
        {
            "policy": policy([style], [script, code.text]),
            "style": inline(style),
            "script": inline(script),
            "viewer": code.packed,
            "code_url": "",
            "volumes": embedded(pictures),
            "notices": notices(bool(record.get("generative")), bool(record.get("simulated"))),
            "title": title_of(record),
            "made": facts.when(record.get("created", "")),
            "verdict": verdict_of(record),
            "tiles": facts.tiles(record),
            "oriented": pictures.oriented,
            "main_sheet": _sheet(pictures, ("baseline", "reconstruction", _deviation(pictures))),
            "truth_sheet": _sheet(pictures, ("truth", "error")) if "truth" in pictures.images else None,
            "share_sheet": _sheet(pictures, ("prior-share",)) if "prior-share" in pictures.images else None,
            "metric_heads": heads,
            "metric_rows": metric_rows,
            "charts": _charts(record),
            "geometry": facts.geometry_rows(record),
            "measurement": facts.measurement_rows(record),
            "prior": facts.prior_rows(record),
            "maps": record.get("uncertainty", {}).get("maps", {}),
            "calibration": record.get("uncertainty", {}).get("calibration"),
            "covered": covered_words(record),
            "provenance": facts.provenance_rows(record),
            "history": facts.history(record),
            "recipe": facts.recipe_text(record),
            "methods": text,
            "references": references,
        },
    )


def covered_words(record: Mapping[str, Any]) -> str:
    """How much of the object the written intervals cover; empty without intervals or without a truth."""
    told = record.get("uncertainty", {})
    level = told.get("interval", {}).get("level")
    share = told.get("calibration", {}).get("coverage", {}).get(str(level))
    if level is None or share is None:
        return ""
    return f"The {level:.0%} intervals hold the truth in {share:.0%} of the voxels of the object."


def title_of(record: Mapping[str, Any]) -> str:
    """Recipe, solver and prior in one line."""
    recipe = record.get("recipe", {})
    by = str(recipe.get("solver", {}).get("name", ""))
    prior = record.get("prior", {}).get("name")
    return f"{recipe.get('name', '')}: {by}" + (f" with {prior}" if prior else "")


def _deviation(pictures: Pictures) -> str:
    """What the third column shows: how far samples differ, else what the solver changed."""
    return "spread" if "spread" in pictures.images else "change"


def _sheet(pictures: Pictures, names: tuple[str, ...]) -> dict[str, Any]:
    """Rows of planes, columns of images."""
    shown = {name: pictures.images[name] for name in names}
    slices = next(iter(shown.values())).planes  # at full size, which the volume may not be
    planes = planes_seen((slices["coronal"].shape[0], *slices["axial"].shape))
    sizes = {plane: size_of(pictures, plane) for plane in planes}
    return {
        "columns": [
            {"title": _TITLES[name], "scale": colour_bar(one), "kind": one.kind} for name, one in shown.items()
        ],
        "rows": [
            {
                "plane": plane,
                "cells": [
                    figure(one, plane, sizes[plane], _TITLES[name], oriented=pictures.oriented)
                    for name, one in shown.items()
                ],
            }
            for plane in planes
        ],
    }


def _charts(record: Mapping[str, Any]) -> dict[str, Markup]:
    """By the name of their section; what the record has."""
    found: dict[str, Markup] = {}
    slices = record.get("chi_slices")
    if slices and len(slices[0]) > 1:
        lines = [
            Line(f"sample {k + 1}" if len(slices) > 1 else "chi", values, 1 + k % 4)
            for k, values in enumerate(slices[:4])
        ]
        found["fit"] = chart(lines, "slice", "chi", level=(1.0, "noise alone"))
    along = record.get("chi_along", {})
    for name, values in along.items():
        found[f"fit along {plain(name)}"] = chart([Line("chi", values)], plain(name), "chi", level=(1.0, "noise alone"))
    if energy := record.get("uncertainty", {}).get("unmeasured_energy"):
        percent = [None if value is None else 100 * value for value in energy]
        found["prior"] = chart([Line("unmeasured", percent, 3)], "slice", "energy that was not measured, %")
    likeness = record.get("slice_likeness", {})
    curves = [
        Line("start image" if name == "baseline" else name, likeness[name], colour)
        for name, colour in (("baseline", 2), ("reconstruction", 1), ("truth", 4))
        if likeness.get(name)
    ]
    if curves:
        found["coherence"] = chart(curves, "slice", "correlation with the next slice")
    convergence = record.get("convergence", {})
    if len(convergence.get("step", [])) > 1:
        lines = [Line("change of the estimate", convergence["change"], 1)]
        if "sigma" in convergence:
            lines.append(Line("noise level", convergence["sigma"], 2))
        found["convergence"] = chart(
            lines, "step", "relative change, noise level", x=convergence["step"], logarithmic=True
        )
    for name, values in record.get("curves", {}).items():
        label = facts.METRICS.get(name, plain(name).replace("_", " "))
        if len(values) > 1:
            found[f"curve {plain(name)}"] = chart([Line(label, values, 1)], "slice", label)
    return found
