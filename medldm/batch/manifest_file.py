"""A manifest: CSV, one line a scan."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from medldm.batch.output_name import check_names, distinct, made_of
from medldm.batch.row import Row
from medldm.data.volume import Modality
from medldm.errors import UsageError

COLUMNS = ("input", "series", "volume_index", "modality", "truth", "recipe", "set", "output")
_SHOWN = 10


def read_manifest(path: Path, *, skip_missing: bool = False) -> list[Row]:
    """The rows of a manifest; paths in it are relative to its folder.

    Args:
        path: a CSV file with a header line; ``input`` is the only column that has to be there. ``set`` holds
            assignments with ``;`` between them.
        skip_missing: keep rows whose input is missing: each fails by itself.

    Raises:
        UsageError: E-BAT-01 to E-BAT-06, see docs/errors.md.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("E-BAT-01", f"{path} is not UTF-8 text.", fix="Save it as CSV, UTF-8.") from error
    except OSError as error:
        raise UsageError("E-BAT-01", f"{path} cannot be read: {error.strerror}.", fix="Check the path.") from error
    try:
        table = csv.DictReader(io.StringIO(text), strict=True)
        _check_columns(path, table.fieldnames or ())
        numbered = [(table.line_num, fields) for fields in table]
    except csv.Error as error:
        raise UsageError(
            "E-BAT-01", f"{path}, line {table.line_num}, is not CSV: {error}.", fix="Correct the line."
        ) from error
    rows, lines = [], []
    for line, fields in numbered:
        if any((value or "").strip() for key, value in fields.items() if key is not None):
            rows.append(_row(path, line, fields))
            lines.append(line)
    if not rows:
        raise UsageError("E-BAT-06", f"{path} names no scan.", fix="Add a line for each scan below the header.")
    if not skip_missing:
        _check_inputs(path, rows, lines)
    rows = _named(path, rows)
    check_names(rows, lines)
    return rows


def _check_columns(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            close = difflib.get_close_matches(str(name), COLUMNS, n=1)
            semicolons = ";" in str(name)
            raise UsageError(
                "E-BAT-02",
                f"{path} has an unknown column {name!r}; known are {', '.join(COLUMNS)}.",
                why="The columns must be separated by commas." if semicolons else "It would be ignored in silence.",
                fix=f"Did you mean {close[0]!r}?" if close else "Rename or remove it.",
            )
        if names.count(name) > 1:
            raise UsageError("E-BAT-02", f"{path} has two columns {name!r}.", fix="Remove one of them.")
    if "input" not in names:
        raise UsageError(
            "E-BAT-01", f"{path} has no column 'input'.", fix=f"The first line names columns: {','.join(COLUMNS)}"
        )


def _row(path: Path, line: int, fields: Mapping[str, str | None]) -> Row:
    if None in fields:
        raise UsageError("E-BAT-01", f"{path}, line {line}, has more values than columns.", fix="Correct the line.")
    value = {key: (text or "").strip() for key, text in fields.items()}
    if not value["input"]:
        raise UsageError("E-BAT-01", f"{path}, line {line}, has no input.", fix="Name the scan's file or folder.")
    index, modality = value.get("volume_index", ""), value.get("modality", "").upper()
    if (index and not index.isdecimal()) or modality not in ("", "CT", "MR", "OT"):
        raise UsageError(
            "E-BAT-01",
            f"{path}, line {line}: volume_index is {index!r}, modality is {modality!r}.",
            fix="volume_index is a whole number, modality is CT or MR; both may be empty.",
        )
    folder = path.absolute().parent
    return Row(
        input=folder / value["input"],
        output=value.get("output", ""),
        series=value.get("series") or None,
        volume_index=int(index) if index else None,
        modality=cast(Modality, modality) if modality else None,
        truth=folder / value["truth"] if value.get("truth") else None,
        recipe=_recipe(folder, value.get("recipe", "")),
        set=tuple(one.strip() for one in value.get("set", "").split(";") if one.strip()),
    )


def _recipe(folder: Path, text: str) -> str:
    return str(folder / text) if text.endswith((".yaml", ".yml")) else text


def _check_inputs(path: Path, rows: Sequence[Row], lines: Sequence[int]) -> None:
    missing = [
        f"line {line}: {file}"
        for row, line in zip(rows, lines, strict=True)
        for file in (row.input, row.truth)
        if file is not None and not file.exists()
    ]
    if missing:
        more = f"; and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UsageError(
            "E-BAT-03",
            f"{len(missing)} files that {path} names do not exist: {'; '.join(missing[:_SHOWN])}{more}.",
            why="Paths are relative to the manifest's folder.",
            fix="Correct them, or add --skip-missing: these scans then count as failed.",
        )


def _named(path: Path, rows: Sequence[Row]) -> list[Row]:
    """Rows without an output get one made of their input."""
    folder = path.absolute().parent
    made = []
    for row in rows:
        inside = row.input.is_relative_to(folder)
        relative = row.input.relative_to(folder) if inside else Path(row.input.name)
        name = made_of(relative, folder=row.input.is_dir())
        made.append(row.output or (f"{name}/volume-{row.volume_index}" if row.volume_index is not None else name))
    free = iter(distinct([name for name, row in zip(made, rows, strict=True) if not row.output]))
    return [row if row.output else replace(row, output=next(free)) for row in rows]


def write_manifest(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as a manifest, to be looked at and edited."""
    with path.open("x", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for row in rows:
            fields = {**row.as_dict(), "set": ";".join(row.set)}
            table.writerow([fields.get(column, "") for column in COLUMNS])
