"""The one table of a benchmark suite: mean and spread over cases, losing rows included."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict

from medldm.pipeline.suite import Row

# Column title, value of a row (None where it has none), digits.
_COLUMNS: tuple[tuple[str, Callable[[Row], float | None], int], ...] = (
    ("PSNR dB", lambda row: row.metrics.get("psnr"), 2),
    ("SSIM ax", lambda row: row.metrics.get("ssim_axial"), 4),
    ("SSIM cor", lambda row: row.metrics.get("ssim_coronal"), 4),
    ("SSIM sag", lambda row: row.metrics.get("ssim_sagittal"), 4),
    ("NRMSE", lambda row: row.metrics.get("nrmse"), 4),
    ("dz-ratio", lambda row: row.metrics.get("dz_ratio"), 3),
    ("chi", lambda row: row.chi, 3),
    ("solve s", lambda row: row.solve_seconds, 1),
    ("peak GiB", lambda row: row.peak_memory_bytes / 2**30, 2),
)


def summary(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines: one per recipe and method, ``mean ± standard deviation`` over cases and seeds."""
    header = ["recipe", "method", "n", *(title for title, _, _ in _COLUMNS)]
    lines = []
    groups = dict.fromkeys((row.recipe, row.method) for row in rows)
    for recipe, method in groups:
        group = [row for row in rows if (row.recipe, row.method) == (recipe, method)]
        good = [row for row in group if not row.error]
        count = str(len(good)) if len(good) == len(group) else f"{len(good)} of {len(group)}"
        cells = [_cell([value(row) for row in good], digits) for _, value, digits in _COLUMNS]
        lines.append([recipe, method, count, *cells])
    return header, lines


def per_case(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines: one per recipe, case, seed and method."""
    header = ["recipe", "case", "seed", "method", *(title for title, _, _ in _COLUMNS)]
    return header, [
        [row.recipe, row.case, str(row.seed), row.method]
        + ([row.error] if row.error else [_cell([value(row)], digits) for _, value, digits in _COLUMNS])
        for row in rows
    ]


def _cell(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{statistics.fmean(known):.{digits}f}"
    return mean if len(known) < 2 else f"{mean} ± {statistics.stdev(known):.{digits}f}"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table for a page of documentation."""
    rows = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    rows += ["| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines]
    return "\n".join(rows) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """All rows with all metrics; a text cell never begins with a character that a spreadsheet would run."""
    metrics = sorted({name for row in rows for name in row.metrics})
    plain = ["recipe", "case", "method", "seed", "chi", "set_up_seconds", "solve_seconds", "peak_memory_bytes", "error"]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*plain, *metrics])
    for row in rows:
        cells = asdict(row)
        writer.writerow([_safe(cells[name]) for name in plain] + [row.metrics.get(name, "") for name in metrics])
    return text.getvalue()


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell


def as_json(rows: Sequence[Row]) -> str:
    """All rows."""
    return json.dumps([asdict(row) for row in rows], indent=1, allow_nan=False) + "\n"
