"""``index.html``: many output folders as one table, those to look at first on top."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote
from zipfile import BadZipFile

from markupsafe import Markup

from medldm.errors import InputRefused
from medldm.pipeline.output import finished_record
from medldm.pipeline.pictures import PICTURES, load_pictures
from medldm.pipeline.whole_file import whole_file
from medldm.report.facts import duration, when
from medldm.report.figures import broadest, size_of, thumbnail
from medldm.report.page import REPORT, write_report
from medldm.report.templating import inline, notices, policy, render, source
from medldm.report.verdict import Verdict, verdict_of

INDEX = "index.html"
_DEEPEST = 6
# From how many robust standard deviations on a number counts as an outlier of its recipe.
_OUTLYING = 3.5
_GRAVITY = {"failed": 0, "warned": 1, "unchecked": 2, "passed": 3}


@dataclass(frozen=True)
class Row:
    """One reconstruction.

    Attributes:
        name: path of its folder below that of the index.
        link: to its report, or its folder, relative.
        verdict: on it.
        numbers: what is compared within a recipe; None where it has none.
        outliers: which of them lie far from the others, in words.
        record: of the run.
        picture: small, empty where there is none.
    """

    name: str
    link: str
    verdict: Verdict
    numbers: Mapping[str, float | None]
    outliers: tuple[str, ...]
    record: Mapping[str, Any]
    picture: Markup


@dataclass(frozen=True)
class Missing:
    """A scan that has no reconstruction.

    Attributes:
        name: what its folder would be called.
        code: of the error.
        reason: in words; empty where it must not be told.
    """

    name: str
    code: str
    reason: str


def write_index(folder: str | Path, missing: Sequence[Missing] = ()) -> Path:
    """Write ``index.html`` over all finished output folders below ``folder``, and the reports that are missing.

    Args:
        folder: of output folders, at most six levels deep.
        missing: scans that were to be among them.

    Returns:
        The file.

    Raises:
        InputRefused: E-REP-03 no finished output folder is there.
    """
    folder = Path(folder)
    found = [(path, record) for path in _finished(folder) if (record := finished_record(path)) is not None]
    if not found and not missing:
        raise InputRefused(
            "E-REP-03",
            f"There is no finished output folder below {folder}.",
            why="An index lists folders that hold a run.json.",
            fix="Name the folder that the results were written to.",
        )
    rows = _rows(folder, found)
    style, more, script = source("style.css"), source("index.css"), source("index.js")
    counts = {status: sum(row.verdict.status == status for row in rows) for status in _GRAVITY}
    text = render(
        "index.html",
        {
            "policy": policy([style, more], [script]),
            "style": inline(style),
            "more": inline(more),
            "script": inline(script),
            "notices": notices(any(row.record.get("generative") for row in rows)),
            "rows": [_cells(row) for row in rows],
            "missing": missing,
            "counts": counts,
            "outlying": sum(bool(row.outliers) for row in rows),
            "recipes": sorted({str(row.record.get("recipe", {}).get("name", "")) for row in rows}),
        },
    )
    target = folder / INDEX
    with whole_file(target) as aside:
        aside.write_text(text, encoding="utf-8")
    return target


def _finished(folder: Path) -> Iterator[Path]:
    """Folders with a ``run.json``, in order; links are not followed, nor folders that are still written."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        depth = len(here.relative_to(folder).parts)
        if "run.json" in files:
            folders.clear()
            yield here
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and ".part-" not in name and ".old-" not in name
        )
        if depth >= _DEEPEST:
            folders.clear()


def _rows(folder: Path, found: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[Row]:
    """The rows, in the order in which they deserve a look."""
    numbers = [_numbers(record) for _, record in found]
    recipes = [str(record.get("recipe", {}).get("sha256", "")) for _, record in found]
    sound = [not record.get("gates_failed") for _, record in found]
    rows, distances = [], []
    for k, (path, record) in enumerate(found):
        alike = [
            one for one, recipe, good in zip(numbers, recipes, sound, strict=True) if good and recipe == recipes[k]
        ]
        far = {name: _distance(value, [one[name] for one in alike]) for name, value in numbers[k].items()}
        outliers = tuple(f"{name} is far from the others" for name, value in far.items() if value > _OUTLYING)
        rows.append(_row(folder, path, record, numbers[k], outliers))
        distances.append(max(far.values(), default=0.0))
    order = sorted(range(len(rows)), key=lambda k: (_gravity(rows[k]), -distances[k], rows[k].name))
    return [rows[k] for k in order]


def _gravity(row: Row) -> int:
    """Failed, then outliers, then warnings, then what was not checked, then the rest."""
    return 0 if row.verdict.status == "failed" else 1 if row.outliers else 1 + _GRAVITY[row.verdict.status]


def _numbers(record: Mapping[str, Any]) -> dict[str, float | None]:
    metrics = record.get("metrics", {}).get("reconstruction", {})
    energy = [one for one in record.get("uncertainty", {}).get("unmeasured_energy", []) if one is not None]
    chi = [float(value) for value in record.get("chi", [])]
    return {
        "chi": max(chi) if chi else None,
        "PSNR": metrics.get("psnr"),
        "SSIM": metrics.get("ssim"),
        "share of the prior": sum(energy) / len(energy) if energy else None,
    }


def _distance(value: float | None, others: Sequence[float | None]) -> float:
    """From the median in robust standard deviations, 1.4826 times the median distance from it; 0 among too few."""
    there = [other for other in others if other is not None]
    if value is None or len(there) < 5:
        return 0.0
    middle = median(there)
    spread = 1.4826 * median(abs(other - middle) for other in there)
    return abs(value - middle) / spread if spread > 0 else 0.0


def _row(
    folder: Path,
    path: Path,
    record: Mapping[str, Any],
    numbers: Mapping[str, float | None],
    outliers: tuple[str, ...],
) -> Row:
    name = path.relative_to(folder).as_posix()
    picture = Markup("")
    if (path / PICTURES).is_file():
        try:
            pictures = load_pictures(path / PICTURES, only=("reconstruction",))
            image = pictures.images["reconstruction"]
            plane = broadest(image)
            picture = thumbnail(image, plane, size_of(pictures, plane), f"middle {plane} slice")
            if not (path / REPORT).is_file():
                write_report(path)
        except (OSError, ValueError, KeyError, BadZipFile):
            picture = Markup("")  # a row without its picture says more than no index
    link = f"{name}/{REPORT}" if (path / REPORT).is_file() else f"{name}/"
    # A name need not be UTF-8: its bytes are the address, and what can be read of it is the text.
    shown = os.fsencode(name).decode("utf-8", "replace")
    return Row(shown, quote(os.fsencode(link)), verdict_of(record), numbers, outliers, record, picture)


def _cells(row: Row) -> dict[str, Any]:
    """What the page shows of a row, each number with the value that it is sorted by."""
    record, numbers = row.record, row.numbers
    seconds = float(sum(record.get("seconds", {}).values()))
    forms = {"chi": "{:.3g}", "PSNR": "{:.2f}", "SSIM": "{:.4f}", "share of the prior": "{:.1%}"}
    shown = [(numbers[name], _shown(numbers[name], form)) for name, form in forms.items()]
    return {
        "name": row.name,
        "link": row.link,
        "picture": row.picture,
        "status": row.verdict.status,
        "gravity": _gravity(row),
        "title": row.verdict.title,
        "reasons": [*record.get("gates_failed", []), *row.outliers, *record.get("warnings", [])],
        "recipe": str(record.get("recipe", {}).get("name", "")),
        "numbers": shown,
        "seconds": seconds,
        "time": duration(seconds),
        "created": str(record.get("created", "")),
        "made": when(record.get("created", "")),
    }


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
