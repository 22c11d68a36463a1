"""The scans below a folder, as rows of a manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import cast

from medldm.batch.output_name import distinct, made_of
from medldm.batch.row import Row
from medldm.data import Reader, SeriesRow
from medldm.errors import MedldmError
from medldm.host import Host

# Files of a folder that are looked at to tell series from scans.
_PROBED = 5


@dataclass(frozen=True)
class Place:
    """A file that is a scan, or a folder whose files together are series.

    Attributes:
        path: of the file or folder.
        reader: that accepts it.
    """

    path: Path
    reader: Reader


@dataclass(frozen=True)
class LeftOut:
    """Something that cannot be reconstructed as it is."""

    path: Path
    code: str
    reason: str


def scan_folder(host: Host, root: Path, include: Sequence[str] = ()) -> tuple[list[Row], list[LeftOut]]:
    """All scans below a folder; headers only.

    Args:
        host: whose readers look.
        root: the folder.
        include: patterns such as ``*_T1w.nii.gz``; one of them must match the name or the path below ``root``.

    Returns:
        Rows whose outputs are named after their paths below the folder, and what is left out, with its code.
    """
    rows: list[Row] = []
    left: list[LeftOut] = []
    for place in places(host, root):
        relative = place.path.relative_to(root)
        if include and not any(fnmatch(str(relative), one) or fnmatch(relative.name, one) for one in include):
            continue
        found, out = rows_of(place, root)
        rows += found
        left += out
    names = distinct([row.output for row in rows])
    return [replace(row, output=name) for row, name in zip(rows, names, strict=True)], left


def rows_of(place: Place, root: Path) -> tuple[list[Row], list[LeftOut]]:
    """The scans at a place, and those of them that cannot be read."""
    try:
        series = place.reader.inspect(place.path)
    except MedldmError as error:
        return [], [LeftOut(place.path, error.code, error.what)]
    except OSError as error:
        return [], [LeftOut(place.path, "E-IN-05", f"It cannot be read: {error.strerror}.")]
    name = made_of(place.path.relative_to(root)) if place.path != root else "scan"
    rows, left = [], []
    readable = [one for one in series if not _error(one)]
    for one in series:
        if problem := _error(one):
            left.append(LeftOut(place.path, problem[0], problem[1]))
        elif len(series) == 1:
            rows.append(Row(place.path.absolute(), name))
        else:
            # By its number: the identifier of a series would be one of the patient.
            output = name if len(readable) == 1 else f"{name}/series-{one.index}"
            rows.append(Row(place.path.absolute(), output, series=f"#{one.index}"))
    return rows, left


def _error(series: SeriesRow) -> tuple[str, str] | None:
    return next(((one.code, one.sentence) for one in series.problems if one.severity == "error"), None)


def places(host: Host, root: Path) -> Iterator[Place]:
    """Files and folders below ``root`` that a reader accepts, in the order of their names."""
    readers = [cast(Reader, host.build("readers", entry.name, {})) for entry in host.entries("readers")]
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        here = Path(folder)
        files = [file for name in sorted(names) if not name.startswith(".") and (file := here / name).is_file()]
        claimed: set[Path] = set()
        for reader in readers:
            first = next((file for file in files if file not in claimed and reader.accepts(file)), None)
            if first is None:
                continue
            if reader.accepts(here) and _gathers(reader, files):
                yield Place(here, reader)
                # Its readers look into the folders below too.
                folders.clear()
                claimed.update(file for file in files if reader.accepts(file))
                continue
            for file in files:
                if file not in claimed and reader.accepts(file):
                    claimed |= {file, *_halves(file), *_described_by(file, files, reader)}
                    yield Place(file, reader)


def _gathers(reader: Reader, files: Sequence[Path]) -> bool:
    """Whether files of this format are parts of a series, which their names do not identify."""
    mine = islice((file for file in files if reader.accepts(file)), _PROBED)
    for file in mine:
        try:
            if any(one.identifier != file.name for one in reader.inspect(file)):
                return True
        except (MedldmError, OSError):
            continue
    return False


def _described_by(file: Path, files: Sequence[Path], reader: Reader) -> Iterator[Path]:
    """Of a measurement whose JSON was found the array that it describes, which the same reader takes too."""
    if file.suffix == ".json":
        yield from (one for one in files if one.name.partition(".")[0] == file.stem and reader.accepts(one))


def _halves(file: Path) -> Iterator[Path]:
    """Of a scan in two files the other one."""
    stem = file.name.removesuffix(".gz")
    stem = stem[: len(stem) - len(Path(stem).suffix)]
    for ending in (".hdr", ".img", ".hdr.gz", ".img.gz", ".cfl"):
        yield file.with_name(stem + ending)
