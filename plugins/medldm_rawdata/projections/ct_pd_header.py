"""One projection of a DICOM-CT-PD scan: its header, read without trusting it (Chen et al. 2015, Moen et al. 2021)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medldm.errors import InputRefused
from medldm_rawdata.projections.stated import damaged, unreadable

DETECTOR_COLUMNS = (0x7029, 0x1011)
PIXELS = (0x7FE0, 0x0010)
# Tag, and how its bytes are read where the file does not say (value representation UN or OB): f float32, H uint16,
# s text. DS of the standard are text.
_TAGS: dict[str, tuple[tuple[int, int], str]] = {
    "series": ((0x0020, 0x000E), "s"),
    "number": ((0x0020, 0x0013), "s"),
    "stored_rows": ((0x0028, 0x0010), "H"),
    "stored_columns": ((0x0028, 0x0011), "H"),
    "bits": ((0x0028, 0x0100), "H"),
    "signed": ((0x0028, 0x0103), "H"),
    "intercept": ((0x0028, 0x1052), "s"),
    "slope": ((0x0028, 0x1053), "s"),
    "rows": ((0x7029, 0x1010), "H"),
    "columns": (DETECTOR_COLUMNS, "H"),
    "pitch": ((0x7029, 0x1002), "f"),
    "row_pitch": ((0x7029, 0x1006), "f"),
    "shape": ((0x7029, 0x100B), "s"),
    "angle": ((0x7031, 0x1001), "f"),
    "z": ((0x7031, 0x1002), "f"),
    "radius": ((0x7031, 0x1003), "f"),
    "source_to_detector": ((0x7031, 0x1031), "f"),
    "central": ((0x7031, 0x1033), "f"),
    "angle_shift": ((0x7033, 0x100B), "f"),
    "z_shift": ((0x7033, 0x100C), "f"),
    "radius_shift": ((0x7033, 0x100D), "f"),
    "focal_spot_mode": ((0x7033, 0x100E), "s"),
    "views_per_turn": ((0x7033, 0x1013), "H"),
    "spectrum": ((0x7033, 0x1063), "H"),
    "photons": ((0x7033, 0x1065), "f"),
    "projection_geometry": ((0x7037, 0x100A), "s"),
    "logarithm": ((0x7039, 0x1009), "s"),
    "water": ((0x7041, 0x1001), "s"),
    "water_older": ((0x0018, 0x0061), "s"),
}
_NUMERIC = ("stored_rows", "stored_columns", "rows", "columns", "pitch", "row_pitch", "angle", "z", "radius")
_NEEDED = (*_NUMERIC, "source_to_detector", "slope", "intercept")
_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)


@dataclass(frozen=True, eq=False)
class ProjectionHeader:
    """What one file says of its projection. Lengths are in mm, angles in radians, as the format defines them.

    Attributes:
        file: where it lies.
        series: SeriesInstanceUID; never shown.
        number: InstanceNumber; None where there is none.
        spectrum: index of the tube or voltage.
        numbers: lengths, angles and counts by name; absent ones are missing.
        words: texts by name, upper case.
        central: column and row, counted from 1, of the element in line with axis and focal centre.
        photons: per column without an object; empty where not stated.
    """

    file: Path
    series: str
    number: int | None
    spectrum: int
    numbers: dict[str, float]
    words: dict[str, str]
    central: tuple[float, float]
    photons: NDArray[np.float32]

    def __getitem__(self, name: str) -> float:
        return self.numbers[name]

    @property
    def shift(self) -> tuple[float, float, float]:
        """Of the focal spot against the detector's focal centre: angle, along z, radial."""
        angle, z, radius = (self.numbers.get(f"{name}_shift", 0.0) for name in ("angle", "z", "radius"))
        return angle, z, radius


def is_projection(file: Path) -> bool:
    """Whether a file is DICOM and holds a projection; False for what cannot be read."""
    try:
        if not _is_dicom(file):
            return False
        with quiet():
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[DETECTOR_COLUMNS])
        return DETECTOR_COLUMNS in dataset
    except Exception:  # a damaged file fails in any way
        return False


def read_header(file: Path) -> ProjectionHeader | None:
    """The header of a projection; None for a file that is none.

    Raises:
        InputRefused: E-PRJ-01 unreadable, E-PRJ-02 damaged, E-PRJ-03 an attribute missing, E-PRJ-04 compressed.
    """
    try:
        if not _is_dicom(file):
            return None
        tags: list[Any] = [tag for tag, _ in _TAGS.values()]
        with quiet():
            syntax = read_file_meta_info(file).get("TransferSyntaxUID")
            plain = syntax in _SYNTAXES
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags) if plain else None
    except OSError as error:
        raise unreadable(file, error) from error
    except Exception as error:
        raise damaged(file, "its header cannot be read") from error
    if dataset is None:
        raise InputRefused(
            "E-PRJ-04",
            f"{file.name} is stored in the transfer syntax {getattr(syntax, 'name', syntax)}.",
            why="Projections are read as plain 16-bit values.",
            fix="Decompress the files, for instance with gdcmconv --raw.",
        )
    return _parsed(file, dataset) if DETECTOR_COLUMNS in dataset else None


def read_values(header: ProjectionHeader) -> NDArray[np.float32]:
    """Line integrals ``(row, column)`` of the detector.

    The format stores a detector column after the other, so that Rows counts columns; files stored the other way are
    told by their sizes.

    Raises:
        InputRefused: E-PRJ-01 unreadable, E-PRJ-02 damaged, E-PRJ-04 sizes that do not fit.
    """
    rows, columns = int(header["rows"]), int(header["columns"])
    stored = (int(header["stored_rows"]), int(header["stored_columns"]))
    try:
        with quiet():
            content = pydicom.dcmread(header.file, specific_tags=[PIXELS]).get(PIXELS)
        pixels = b"" if content is None else bytes(content.value)
    except OSError as error:
        raise unreadable(header.file, error) from error
    except Exception as error:
        raise damaged(header.file, "its pixels cannot be read") from error
    if stored not in ((columns, rows), (rows, columns)) or header.numbers.get("bits", 16) != 16:
        raise InputRefused(
            "E-PRJ-04",
            f"{header.file.name} stores {stored[0]} x {stored[1]} values of a detector of {rows} rows and {columns} "
            "columns.",
            why="It is not known which value belongs to which element.",
            fix="Check how the file was written: 16 bits, one value per element.",
        )
    if len(pixels) not in (2 * rows * columns, 2 * rows * columns + 1):
        raise damaged(header.file, f"it holds {len(pixels)} of {2 * rows * columns} bytes")
    kind = "<i2" if header.numbers.get("signed") else "<u2"
    values = np.frombuffer(pixels, dtype=kind, count=rows * columns).reshape(stored)
    values = values.T if stored == (columns, rows) else values
    return np.asarray(values * np.float32(header["slope"]) + np.float32(header["intercept"]), dtype=np.float32)


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's remarks on values, which may quote what is of the patient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _parsed(file: Path, dataset: Dataset) -> ProjectionHeader:
    try:
        with quiet():
            found = {name: _value(dataset, tag, kind) for name, (tag, kind) in _TAGS.items()}
    except Exception as error:
        raise damaged(file, "an attribute is not what it is declared to be") from error
    texts = ("series", "shape", "focal_spot_mode", "projection_geometry", "logarithm")
    words = {name: str(found[name][0]).strip().upper() for name in texts if len(found[name])}
    numbers: dict[str, float] = {}
    for name, values in found.items():
        if name in texts or not len(values):
            continue
        try:
            numbers[name] = float(values[0])
        except ValueError as error:
            raise damaged(file, f"{name} is no number") from error
    missing = [name for name in _NEEDED if not np.isfinite(numbers.get(name, np.nan))]
    central = [float(value) for value in found["central"]]
    if missing or len(central) != 2 or not np.isfinite(central).all():
        raise InputRefused(
            "E-PRJ-03",
            f"{file.name} does not state {', '.join(missing) or 'the central element of the detector'}.",
            why="Rays cannot be placed in the image without it, and geometry is never guessed.",
            fix="Convert the scan again; the README of medldm_rawdata lists the attributes that are read.",
        )
    number = numbers.get("number")
    return ProjectionHeader(
        file=file,
        series=words.get("series", ""),
        number=None if number is None else int(number),
        spectrum=int(numbers.get("spectrum", 1)),
        numbers=numbers,
        words=words,
        central=(central[0], central[1]),
        photons=np.asarray(found["photons"], dtype=np.float32),
    )


def _value(dataset: Dataset, tag: tuple[int, int], kind: str) -> list[Any]:
    """Values of an attribute; where its type is not known, its bytes read as what the format says they are."""
    element = dataset.get(tag)
    if element is None or element.value is None:
        return []
    value = element.value
    if isinstance(value, bytes):
        if kind == "s":
            return value.decode("ascii", "replace").strip(" \0").split("\\")
        return list(np.frombuffer(value, dtype="<f4" if kind == "f" else "<u2").tolist())
    if isinstance(value, str):
        return [value] if value.strip() else []
    return list(value) if hasattr(value, "__iter__") else [value]
