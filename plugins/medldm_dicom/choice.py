"""Which series and which volume a request means."""

from __future__ import annotations

from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm_dicom.catalogue import Catalogue, Series
from medldm_dicom.header import text
from medldm_dicom.problems import printable, refusal
from medldm_dicom.volumes import Split

_LISTED = 12


def is_candidate(series: Series) -> bool:
    """False for what is no volume by its nature: scouts, turning projections, pictures in colour, empty objects.

    A series with a fault is a candidate: it must not be passed over in silence.
    """
    empty = any(header.pixel_bytes is None for header in series.headers)
    return not (series.localizer or series.scattered or series.colour or empty)


def choose(found: Catalogue, request: ReadRequest) -> Series:
    """The series that the request names, or the only one that can be an image volume.

    Raises:
        InputRefused: ``E-DCM-10`` several, ``E-DCM-11`` none of that name, ``E-GEO-04`` one series that falls
            into parts, or the code of the only file there is.
    """
    if not found.series:
        if found.strays:
            raise refusal(found.strays[0].problem)
        raise InputRefused("E-DCM-01", "There is no DICOM file here.", fix="Name a DICOM file or a folder of them.")
    if request.series is not None:
        return _named(found, request.series)
    candidates = [series for series in found.series if is_candidate(series)] or list(found.series)
    if len(candidates) == 1:
        return candidates[0]
    _several(found, candidates)
    raise AssertionError


def _named(found: Catalogue, name: str) -> Series:
    if name.startswith("#"):
        number = name[1:]
        if number.isdigit() and 1 <= int(number) <= len(found.series):
            return found.series[int(number) - 1]
        stray = int(number) - len(found.series) - 1 if number.isdigit() else -1
        if 0 <= stray < len(found.strays):
            raise refusal(found.strays[stray].problem)
    matching = [series for series in found.series if series.uid == name]
    if len(matching) == 1:
        return matching[0]
    if len(matching) > 1:
        _several(found, matching)
    raise InputRefused(
        "E-DCM-11",
        f"There is no series {printable(name)!r} here.",
        why="Series are named by their UID or by their row.",
        fix=f"Choose from: {_table(found, list(found.series))}.",
    )


def _several(found: Catalogue, among: list[Series]) -> None:
    table = _table(found, among)
    if len({series.uid for series in among}) == 1 and len({series.frames[0].header.size for series in among}) == 1:
        raise InputRefused(
            "E-GEO-04",
            f"One series falls into {len(among)} parts of different orientation, spacing or frame of reference.",
            why="One volume has one orientation.",
            fix=f"Choose one part with --series: {table}.",
        )
    raise InputRefused(
        "E-DCM-10",
        f"There are {len(among)} series here.",
        why="Which of them to read is a choice of the user.",
        fix=f"Choose one with --series: {table}.",
    )


def _table(found: Catalogue, among: list[Series]) -> str:
    rows = []
    for number, series in enumerate(found.series, 1):
        if series in among:
            header = series.frames[0].header
            modality = printable(text(header.dataset, "Modality") or "?", 8)
            rows.append(f"#{number} {modality} {len(series.frames)} x {header.size[0]} x {header.size[1]}")
    shown = "; ".join(rows[:_LISTED])
    return shown if len(rows) <= _LISTED else f"{shown}; and {len(rows) - _LISTED} more (medldm inspect lists all)"


def choose_volume(split: Split, index: int | None) -> int:
    """The volume of a 4-D series.

    Raises:
        InputRefused: ``E-DCM-12`` when none is chosen or there is none of that number.
    """
    count = len(split.layouts)
    if index is not None and 0 <= index < count:
        return index
    what = f"The series holds {count} volumes, told apart by {', '.join(split.dimensions)}"
    raise InputRefused(
        "E-DCM-12",
        f"{what}." if index is None else f"{what}; there is no volume {index}.",
        why="A volume has three axes; which one to take is a choice of the user.",
        fix=f"Give --volume-index 0 to {count - 1}.",
    )
