"""The scans below a folder, as rows of a manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medldm.batch.found import Found, LeftOut, included
from medldm.batch.output_name import distinct, made_of
from medldm.batch.row import Row
from medldm.data import Reader, SeriesRow
from medldm.errors import MedldmError
from medldm.host import Host
from medldm.pipeline.reading import accepts, files_by, readers, scans_at

# Files of a folder that are looked at to tell series from scans.
_PROBED = 5


@dataclass(frozen=True)
class Place:
    """A file that is a scan, or a folder whose files together are series.

    Attributes:
        path: of the file or folder.
        reader: that accepts it.
        within: the outermost folder of series that it lies below, if any.
    """

    path: Path
    reader: Reader
    within: Path | None = None


def scan_folder(host: Host, root: Path, include: Sequence[str] = ()) -> Found:
    """All scans below a folder; headers only.

    Args:
        host: whose readers look.
        root: the folder.
        include: patterns of names or of paths below ``root``.
    """
    rows: list[Row] = []
    left: list[LeftOut] = []
    others = 0
    for place in places(host, root):
        if not included(place.path.relative_to(root), include):
            others += 1
            continue
        found, out = rows_of(host, place, root)
        rows += found
        left += out
    names = distinct([row.output for row in rows])
    return Found([replace(row, output=name) for row, name in zip(rows, names, strict=True)], left, others)


def rows_of(host: Host, place: Place, root: Path) -> tuple[list[Row], list[LeftOut]]:
    """The scans at a place, and those of them that cannot be read."""
    try:
        series, alone = _series(host, place)
    except MedldmError as error:
        return [], [LeftOut(place.path, error.code, error.what)]
    except OSError as error:
        return [], [LeftOut(place.path, "E-IN-05", f"It cannot be read: {error.strerror}.")]
    name = _name(place, root)
    rows, left = [], []
    readable = [one for one in series if not _error(one)]
    for one in series:
        if problem := _error(one):
            left.append(LeftOut(place.path, problem[0], problem[1]))
        elif alone:
            rows.append(Row(place.path.absolute(), name))
        else:
            # By its number: the identifier of a series would be one of the patient.
            output = name if len(readable) == 1 else f"{name}/series-{one.index}"
            rows.append(Row(place.path.absolute(), output, series=f"#{one.index}"))
    return rows, left


def _series(host: Host, place: Place) -> tuple[list[SeriesRow], bool]:
    """What the reader of a place finds there, numbered as a run chooses it, and whether it is all there is."""
    if not place.path.is_dir():
        series = place.reader.inspect(place.path)
        return series, len(series) == 1
    found = scans_at(host, place.path)
    return [scan.row for scan in found if scan.reader == place.reader], len(found) == 1


def _name(place: Place, root: Path) -> str:
    """Made of the path; what lies below a folder of series stays out of the folder of their result."""
    path = place.path
    if place.within is not None and place.within != root:
        first, *rest = path.relative_to(place.within).parts
        path = place.within.with_name(f"{place.within.name}-{first}").joinpath(*rest)
    return made_of(path.relative_to(root), folder=place.path.is_dir())


def _error(series: SeriesRow) -> tuple[str, str] | None:
    return next(((one.code, one.sentence) for one in series.problems if one.severity == "error"), None)


def places(host: Host, root: Path) -> Iterator[Place]:
    """Files and folders below ``root`` that are scans to a reader, each folder before those that lie in it."""
    yield from _places_in(root, list(readers(host)))


def _places_in(
    here: Path, asked: Sequence[Reader], above: Sequence[Reader] = (), within: Path | None = None
) -> Iterator[Place]:
    """Those in a folder and below it.

    Args:
        here: the folder.
        asked: readers that may find scans in it.
        above: readers that have taken a folder above it as series; what they accept here is part of these.
        within: the outermost such folder.
    """
    folders, files = _inside(here)
    taken = {file for file in files if any(accepts(reader, file) for reader in above)}
    found: list[tuple[Reader, list[Path]]] = []
    for reader in asked:
        mine = [file for file in files if file not in taken and accepts(reader, file)]
        taken.update(mine)
        found.append((reader, mine))
    gathering = [reader for reader, mine in found if mine and accepts(reader, here) and _gathers(reader, mine)]
    alone = _whole_scans([(reader, file) for reader, mine in found if reader not in gathering for file in mine])
    for reader, mine in found:
        scans = [here] if reader in gathering else [file for file in mine if file in alone]
        yield from (Place(path, reader, within) for path in scans)
    if gathering:
        asked, above, within = [one for one in asked if one not in gathering], [*above, *gathering], within or here
    for folder in folders:
        yield from _places_in(folder, asked, above, within)


def _inside(here: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the regular files in a folder, without hidden ones, and no links to folders."""
    _, folders, names = next(os.walk(here), ("", [], []))
    seen = [[here / name for name in sorted(kind) if not name.startswith(".")] for kind in (folders, names)]
    return [one for one in seen[0] if not one.is_symlink()], [one for one in seen[1] if one.is_file()]


def _gathers(reader: Reader, files: Sequence[Path]) -> bool:
    """Whether files of a reader's format are parts of a series, which their names do not identify."""
    for file in files[:_PROBED]:
        try:
            if any(one.identifier != file.name for one in reader.inspect(file)):
                return True
        except (MedldmError, OSError):
            continue
    return False


def _whole_scans(accepted: Sequence[tuple[Reader, Path]]) -> set[Path]:
    """Of files that readers accept those that stand for a scan; the others belong to the scan of one of these."""
    parts = {file: set(files_by(reader, file)) for reader, file in accepted}
    owners: dict[Path, list[Path]] = {}
    for file, its in parts.items():
        for one in its:
            owners.setdefault(one, []).append(file)

    def is_part(file: Path) -> bool:
        return any(owner not in parts[file] for owner in owners.get(file, ()))

    scans: set[Path] = set()
    told: set[Path] = set()
    # Of files that name one another the first; those that only others name come last, when these have told.
    for file in sorted(parts, key=is_part):
        if file not in told:
            scans.add(file)
            told |= parts[file]
    return scans
