"""Projections in a NumPy or NIfTI file, described by a JSON beside it: what every such format shares."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pydantic
from numpy.typing import NDArray

from medldm.data import Acquisition, ReadRequest, SeriesRow, Volume
from medldm.errors import InputRefused, Problem
from medldm_rawdata.projections.array_file import read_array
from medldm_rawdata.projections.content import Content
from medldm_rawdata.projections.measured import (
    DEFAULT_PHOTONS,
    assumed_photons,
    photons_from_air,
    require_finite,
    require_memory,
)
from medldm_rawdata.projections.row import row_of_refusal
from medldm_rawdata.projections.stated import LARGEST, Length, Strict, read_bytes
from medldm_rawdata.projections.views import Array

Number = pydantic.FiniteFloat
FileName = Annotated[str, pydantic.Field(min_length=1, max_length=200, pattern=r"^[^/\\\x00]+$")]
_NIFTI = (".nii", ".nii.gz")
_FORMAT_ENTRY = re.compile(rb'"format"\s*:\s*"([\w-]{1,64})"', re.ASCII)
# Of the memory that inspecting a file may take.
INSPECTED = 4 * 2**30


class EvenAngles(Strict):
    """Views at equal steps.

    Attributes:
        first_deg: angle of the first view.
        step_deg: from one view to the next; negative where the scanner turns the other way.
    """

    first_deg: Number
    step_deg: Number


class ProjectionHeader(Strict):
    """The entries that mean the same in every format; the README of the plugin explains each."""

    version: Literal[1]
    data: FileName
    array: FileName | None = None
    content: Content
    angles_deg: list[Number] | EvenAngles
    photons: Length | None = None
    electronic_std: Annotated[Number, pydantic.Field(ge=0)] = 0.0
    mu_water_per_mm: Length | None = None
    simulated: pydantic.StrictBool = False

    @pydantic.model_validator(mode="after")
    def _described(self) -> Self:
        if self.content == "counts" and self.photons is None:
            raise ValueError("counts need photons, those per bin without an object")
        if self.data.startswith("."):
            raise ValueError("data is the name of a file in the same folder")
        return self

    def degrees(self, views: int) -> Array:
        """One angle per view, as many as are stated."""
        if isinstance(self.angles_deg, EvenAngles):
            return evenly(self.angles_deg.first_deg, self.angles_deg.step_deg, views)
        return np.asarray(self.angles_deg, dtype=np.float64)

    def measured(
        self, path: Path, named: Sequence[str], order: Sequence[str], what: str, bytes_each: int, max_bytes: int
    ) -> NDArray[Any]:
        """The array, checked, its axes in the order of ``order``.

        Args:
            path: of the JSON.
            named: the axes as they are stored.
            order: the axes as they are wanted; those that are not stored are left out.
            what: the array is, for messages.
            bytes_each: of memory that a number takes until it is read.
            max_bytes: of memory.

        Raises:
            InputRefused: E-PRJ-01 to E-PRJ-04, E-PRJ-06 and E-PRJ-07.
        """
        array = read_array(path.with_name(self.data), self.array, max_bytes)
        if array.ndim != len(named) or 0 in array.shape:
            raise InputRefused(
                "E-PRJ-04",
                f"{self.data} is of shape {array.shape}, its axes are {', '.join(named)}.",
                why="Every axis needs its name, and none may be empty.",
                fix="Correct 'axes' in the JSON file; NIfTI axes are named from the last to the first.",
            )
        require_memory(bytes_each * array.size, max_bytes, self.data)
        require_finite(array, what, self.data)
        return array.transpose([named.index(axis) for axis in order if axis in named])

    def photons_of(self, values: NDArray[np.float32]) -> tuple[float, tuple[Problem, ...]]:
        """Per bin without an object: as stated, as seen in the noise of air, or assumed with a warning.

        Args:
            values: line integrals (z or row, view, bin).
        """
        photons = self.photons or photons_from_air(values)
        return (DEFAULT_PHOTONS, (assumed_photons(),)) if photons is None else (photons, ())


def evenly(first: float, step: float, views: int) -> Array:
    """(view,) numbers at equal steps."""
    return np.asarray(first + step * np.arange(views), dtype=np.float64)


@dataclass(frozen=True)
class DescribedReader(ABC):
    """Reads ``NAME.json`` and the array that it names, in the same folder.

    Attributes:
        name: of the reader.
        format: that the JSON says it is of.
    """

    name: ClassVar[str]
    format: ClassVar[str]

    @abstractmethod
    def acquisition(self, path: Path, max_bytes: int) -> Acquisition:
        """The measurement."""

    @abstractmethod
    def row(self, path: Path) -> SeriesRow:
        """What ``medldm inspect`` says of it."""

    def accepts(self, path: Path) -> bool:
        """A JSON that says so, or a NumPy file with such a JSON of its name beside it, or the NIfTI file that it names.

        NIfTI files are images as a rule, so one is taken only where the JSON says that its numbers are these.
        """
        format_, data = _named_in(described(path))
        return format_ == self.format and (not path.name.lower().endswith(_NIFTI) or data == path.name)

    def files(self, path: Path) -> list[Path]:
        """The JSON and the array that it names, whichever of them the path is."""
        beside = described(path)
        _, data = _named_in(beside)
        plain = isinstance(data, str) and data and Path(data).name == data and not data.startswith(".")
        return [path, beside, *([beside.with_name(data)] if plain else [])]

    def inspect(self, path: Path) -> list[SeriesRow]:
        """One row; the array is read for what its values tell."""
        try:
            return [self.row(path)]
        except InputRefused as refusal:
            return [row_of_refusal(path, self.name, refusal)]

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        """The one measurement.

        Raises:
            InputRefused: E-PRJ-01 to E-PRJ-08, E-PRJ-11, E-PRJ-12, E-PRJ-16, E-PRJ-17 and E-PRJ-26, see the
                plugin's README.
        """
        request.require_only_scan(path)
        return [self.acquisition(path, request.max_bytes)]


def described(path: Path) -> Path:
    """The JSON of a NumPy or NIfTI file; of itself, a JSON."""
    if path.name.lower().endswith(_NIFTI):
        return path.with_name(f"{path.name[:-7] if path.suffix.lower() == '.gz' else path.stem}.json")
    return path.with_suffix(".json") if path.suffix.lower() in (".npy", ".npz") else path


def _named_in(file: Path) -> tuple[Any, Any]:
    """The format of a JSON, and the file that holds its numbers; never raises.

    Of one with a slip of the pen the entry itself tells the format, so that reading it can say where the slip is.
    """
    if file.suffix.lower() != ".json" or not file.is_file():
        return None, None
    try:
        text = read_bytes(file, LARGEST)
        content: Any = pydantic.TypeAdapter(dict[str, Any]).validate_json(text)
    except InputRefused:
        return None, None
    except ValueError:
        entry = _FORMAT_ENTRY.search(text)
        return (entry[1].decode(), None) if entry else (None, None)
    return content.get("format"), content.get("data")
