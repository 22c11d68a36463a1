"""The projections of a folder, sorted into scans, and what kind of scan each is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem
from medldm_rawdata.projections.ct_pd_doubts import doubts, refuse_damaged
from medldm_rawdata.projections.ct_pd_header import ProjectionHeader, read_header

Array = NDArray[np.float64]
_MOST_FILES = 200_000
# What must be the same in all projections of a scan.
_CONSTANT = ("rows", "columns", "stored_rows", "stored_columns", "pitch", "row_pitch", "source_to_detector")
_SHAPES = {"CYLINDRICAL": True, "FLAT": False}
_NO_FLYING = ("", "FFSNONE", "NONE")
_STILL_SPOT = 1e-6
# A table that moves by less than this share of a detector row, at the axis, stands still.
_STANDING = 0.1
_SAME_RADIUS = 1e-3


@dataclass(frozen=True, eq=False)
class ProjectionScan:
    """The projections of one series and one spectrum in the order measured.

    Attributes:
        headers: one per view.
        problems: of the numbering, and a flying focal spot.
    """

    headers: tuple[ProjectionHeader, ...]
    problems: tuple[Problem, ...]

    @property
    def first(self) -> ProjectionHeader:
        """The first view, for all that is the same in every one."""
        return self.headers[0]

    @property
    def curved(self) -> bool:
        """Whether the detector is a cylinder around the focal centre."""
        return _SHAPES[self.first.words["shape"]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Views, detector rows and columns."""
        return len(self.headers), int(self.first["rows"]), int(self.first["columns"])

    def of(self, name: str) -> Array:
        """A number of every view."""
        return np.array([header[name] for header in self.headers])

    @property
    def shifts(self) -> Array:
        """(view, 3) of the focal spot: angle in radians, along z and radial in mm."""
        return np.array([header.shift for header in self.headers])

    @property
    def row_at_axis(self) -> float:
        """Distance of detector rows seen at the axis in mm."""
        return self.first["row_pitch"] * self.first["radius"] / self.first["source_to_detector"]

    @property
    def moves(self) -> bool:
        """Whether the table moves while it is scanned."""
        return bool(np.ptp(self.of("z")) > _STANDING * self.row_at_axis)

    @property
    def flies(self) -> bool:
        """Whether the focal spot is shifted against the detector's focal centre."""
        mode = self.first.words.get("focal_spot_mode", "")
        return mode not in _NO_FLYING or bool(np.abs(self.shifts).max() > _STILL_SPOT)

    @property
    def is_planar(self) -> bool:
        """Whether rays in the plane of the source stay there: a circle, a resting table, a resting focal spot."""
        radius = self.of("radius")
        return not self.moves and not self.flies and bool(np.ptp(radius) <= _SAME_RADIUS * radius[0])


def scans_under(path: Path) -> list[ProjectionScan]:
    """All scans of a folder, by the name of their first file; whole images among the projections are passed over.

    Raises:
        InputRefused: E-PRJ-01 to E-PRJ-04 for a file, E-PRJ-17 for projections that do not belong together, E-PRJ-20
            for two of one number.
    """
    groups: dict[tuple[str, int], list[ProjectionHeader]] = {}
    strays: list[Path] = []
    for file in files_under(path):
        header = read_header(file)
        if header is None:
            strays.append(file)
        else:
            groups.setdefault((header.series, header.spectrum), []).append(header)
    if not groups:
        raise InputRefused(
            "E-PRJ-03",
            f"There are no projections in {path.name}.",
            why="A scan of this format is a folder of DICOM files, one per view.",
            fix="Give the folder of the projections.",
        )
    refuse_damaged(strays, [header for group in groups.values() for header in group])
    return [_scan(group) for group in groups.values()]


def files_under(path: Path) -> Iterator[Path]:
    """Regular files at or under a path in the order of their names; no links.

    Raises:
        InputRefused: E-PRJ-01 when there is nothing, E-PRJ-06 when there are too many.
    """
    if not path.exists():
        raise InputRefused("E-PRJ-01", f"There is nothing at {path.name}.", fix="Check the path.")
    if path.is_file():
        yield path
        return
    count = 0
    for folder, folders, names in os.walk(path, followlinks=False):
        folders.sort()
        for name in sorted(names):
            file = Path(folder) / name
            if file.is_symlink() or not file.is_file():
                continue
            count += 1
            if count > _MOST_FILES:
                raise InputRefused(
                    "E-PRJ-06",
                    f"There are more than {_MOST_FILES} files under {path.name}.",
                    why="Reading every header would take very long.",
                    fix="Name the folder of one scan.",
                )
            yield file


def _scan(group: list[ProjectionHeader]) -> ProjectionScan:
    numbers = [header.number for header in group]
    problems: list[Problem] = []
    absent = 0
    known = [number for number in numbers if number is not None]
    if len(known) == len(group):
        group = sorted(group, key=lambda header: header.number or 0)
        distinct = sorted(set(known))
        if len(distinct) < len(known):
            raise InputRefused(
                "E-PRJ-20",
                f"{len(known) - len(distinct)} projections have the number of another one.",
                why="Copies, or two scans in one: which view was measured when is not known.",
                fix="Remove the copies, or put each scan into a folder of its own.",
            )
        if absent := distinct[-1] - distinct[0] + 1 - len(distinct):
            sentence = f"{absent} projections between number {distinct[0]} and {distinct[-1]} are missing."
            problems.append(Problem("E-PRJ-20", "warning", sentence, "Copy the scan again; each view keeps its angle."))
    _require_one_geometry(group)
    scan = ProjectionScan(tuple(group), ())
    problems += doubts(group, absent, moves=scan.moves)
    if scan.flies:
        mode = scan.first.words.get("focal_spot_mode", "not stated")
        sentence = f"The focal spot flies (mode {mode}): its shifts of every view are kept with the measurement."
        problems.append(Problem("E-PRJ-22", "note", sentence, "Views are neither sorted apart nor rebinned."))
    return ProjectionScan(tuple(group), tuple(problems))


def _require_one_geometry(group: list[ProjectionHeader]) -> None:
    first = group[0]
    shape, beam = first.words.get("shape", "not stated"), first.words.get("projection_geometry", "")
    if shape not in _SHAPES or "PARALLEL" in beam:
        raise _refused(first, f"its detector is {shape}, its rays {beam or 'not stated'}")
    if first.words.get("logarithm", "YES") in ("NO", "FALSE", "0"):
        raise _refused(first, "its values are no line integrals, the logarithm was not taken")
    lengths = [first[name] for name in ("pitch", "row_pitch", "radius")]
    if min(lengths) <= 0 or not 0 < first["radius"] < first["source_to_detector"]:
        raise _refused(first, "its lengths cannot be: detector, source and axis do not fit each other")
    for header in group:
        odd = [name for name in _CONSTANT if header[name] != first[name]]
        if odd or header.central != first.central or header.words.get("shape") != first.words.get("shape"):
            raise _refused(header, f"it differs from {first.file.name} in {odd[0] if odd else 'its detector'}")


def _refused(header: ProjectionHeader, what: str) -> InputRefused:
    return InputRefused(
        "E-PRJ-17",
        f"{header.file.name} is no fan or cone of one fixed detector: {what}.",
        why="Geometry is never guessed.",
        fix="Give the line integrals of one scan; each scan in a folder of its own.",
    )
