"""One image plane, whether a file of its own or a frame of an enhanced multi-frame file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medldm_dicom.header import Header, items, number, numbers, text, words

Vector = NDArray[np.float64]

# Attributes that tell the volumes of one classic series apart, in the order in which the volumes are numbered.
_CLASSIC_DIMENSIONS = (
    "ImageType",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "EchoNumbers",
    "EchoTime",
    "InversionTime",
    "DiffusionBValue",
    "TriggerTime",
    "NominalPercentageOfCardiacPhase",
)


@dataclass(frozen=True, eq=False)
class Frame:
    """Where a plane lies and how its stored numbers become values.

    Attributes:
        header: of the file that holds it.
        index: number of the frame in its file, from 0.
        position: centre of the first pixel in LPS mm (ImagePositionPatient); None when not stated.
        orientation: (2, 3) unit steps along a row (x) and along a column (y); None when not stated.
        spacing: distance between rows and between columns in mm, PixelSpacing in its own order.
        thickness: SliceThickness in mm.
        between: SpacingBetweenSlices in mm.
        slope, intercept: value = slope * stored + intercept; None when not stated.
        rescale_type: unit that the rescale leads to, as stated.
        window: display window centre and width.
        dimensions: attributes in which frames at one place may differ.
    """

    header: Header
    index: int
    position: Vector | None
    orientation: Vector | None
    spacing: tuple[float, float] | None
    thickness: float | None
    between: float | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    window: tuple[float, float] | None
    dimensions: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The file that holds the frame."""
        return self.header.file

    @property
    def label(self) -> str:
        """How a message names it: the file, and the frame where a file holds several."""
        return self.file.name if self.header.frames == 1 else f"{self.file.name} frame {self.index + 1}"

    @property
    def place(self) -> Vector:
        """The position of a frame that is known to have one."""
        assert self.position is not None
        return self.position


def classic(header: Header) -> Frame:
    """The one frame of a single-frame image."""
    dataset = header.dataset
    slope, intercept, display = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept"), window(dataset)
    mapping = real_world(dataset) if slope is None else None
    if mapping is not None:
        slope, intercept = mapping
        display = display and (display[0] * slope + intercept, display[1] * slope)
    return Frame(
        header,
        0,
        position=vector(dataset, "ImagePositionPatient"),
        orientation=orientation(dataset),
        spacing=spacing(dataset),
        thickness=positive(dataset, "SliceThickness"),
        between=positive(dataset, "SpacingBetweenSlices"),
        slope=slope,
        intercept=intercept,
        rescale_type=text(dataset, "RescaleType"),
        window=display,
        dimensions=dimensions(dataset, _CLASSIC_DIMENSIONS),
    )


def real_world(dataset: Dataset) -> tuple[float, float] | None:
    """Slope and intercept that medldm itself wrote as a real world value map of an MR image.

    Maps of others are left alone: they lead to units of their own that other programs do not apply either.
    """
    maps = items(dataset, "RealWorldValueMappingSequence")
    if len(maps) != 1 or text(maps[0], "LUTLabel") != "medldm":
        return None
    slope, intercept = number(maps[0], "RealWorldValueSlope"), number(maps[0], "RealWorldValueIntercept")
    return None if slope is None or intercept is None else (slope, intercept)


def vector(dataset: Dataset | None, keyword: str) -> Vector | None:
    """Three finite numbers, or None."""
    values = numbers(dataset, keyword)
    if values is None or len(values) != 3 or not np.isfinite(values).all():
        return None
    return np.array(values)


def orientation(dataset: Dataset | None) -> Vector | None:
    """ImageOrientationPatient as (row direction, column direction), as stated; None when absent."""
    values = numbers(dataset, "ImageOrientationPatient")
    if values is None or len(values) != 6 or not np.isfinite(values).all():
        return None
    return np.array(values).reshape(2, 3)


def spacing(dataset: Dataset | None) -> tuple[float, float] | None:
    """PixelSpacing, [between rows, between columns] in mm; None when absent or not positive."""
    values = numbers(dataset, "PixelSpacing")
    if values is None or len(values) != 2 or not (np.isfinite(values).all() and min(values) > 0):
        return None
    return values[0], values[1]


def positive(dataset: Dataset | None, keyword: str) -> float | None:
    """A positive finite number, or None. Some vendors sign SpacingBetweenSlices by the scan direction."""
    value = number(dataset, keyword)
    return abs(value) if value is not None and np.isfinite(value) and value != 0 else None


def window(dataset: Dataset | None) -> tuple[float, float] | None:
    """The first display window (centre, width), or None."""
    centre, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    if centre is None or width is None or not (np.isfinite((centre, width)).all() and width > 0):
        return None
    return centre, width


def dimensions(dataset: Dataset, keywords: tuple[str, ...]) -> dict[str, str | float]:
    """The attributes that are there, as comparable values."""
    found: dict[str, str | float] = {}
    for keyword in keywords:
        value = number(dataset, keyword)
        if value is None:
            parts = words(dataset, keyword)
            if parts:
                found[keyword] = "\\".join(parts)
        else:
            found[keyword] = value
    return found
