"""The JSON that describes a sinogram kept in a NumPy or NIfTI file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
import pydantic

from medldm_rawdata.projections.measured import Detector, GeometryName
from medldm_rawdata.projections.stated import ImageGrid, Length, Strict
from medldm_rawdata.projections.views import Array

FORMAT: Literal["medldm-sinogram"] = "medldm-sinogram"
AxisName = Literal["z", "view", "bin"]
AXES: tuple[AxisName, ...] = ("z", "view", "bin")
_NAME = Annotated[str, pydantic.Field(min_length=1, max_length=200, pattern=r"^[^/\\\x00]+$")]
_Number = pydantic.FiniteFloat


class EvenAngles(Strict):
    """Views at equal steps.

    Attributes:
        first_deg: angle of the first view.
        step_deg: from one view to the next; negative where the scanner turns the other way.
    """

    first_deg: _Number
    step_deg: _Number


class SinogramHeader(Strict):
    """What one measurement needs besides its numbers; the README of the plugin explains each entry."""

    format: Literal["medldm-sinogram"]
    version: Literal[1]
    data: _NAME
    array: _NAME | None = None
    axes: tuple[AxisName, ...] = AXES
    content: Literal["line-integrals", "transmission", "counts"]
    geometry: GeometryName
    angles_deg: list[_Number] | EvenAngles
    pitch_mm: Length
    offset_mm: _Number | Literal["find"] = 0.0
    row_pitch_mm: Length | None = None
    source_to_centre_mm: Length | None = None
    source_to_detector_mm: Length | None = None
    photons: Length | None = None
    electronic_std: Annotated[_Number, pydantic.Field(ge=0)] = 0.0
    weights: Literal["half-turn", "full-turn", "short-scan", "displaced", "limited"] | None = None
    image: ImageGrid | None = None
    mu_water_per_mm: Length | None = None
    simulated: pydantic.StrictBool = False

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        distances = (self.source_to_centre_mm, self.source_to_detector_mm)
        if self.geometry == "parallel" and distances != (None, None):
            raise ValueError("parallel rays have no source; leave out source_to_centre_mm and source_to_detector_mm")
        if self.geometry != "parallel" and None in distances:
            raise ValueError("a fan needs source_to_centre_mm and source_to_detector_mm")
        if sorted(self.axes) not in (sorted(AXES), sorted(AXES[1:])):
            raise ValueError("axes are z, view and bin in any order, or view and bin")
        if self.content == "counts" and self.photons is None:
            raise ValueError("counts need photons, those per bin without an object")
        if self.data.startswith("."):
            raise ValueError("data is the name of a file in the same folder")
        return self

    def degrees(self, views: int) -> Array:
        """One angle per view, as many as are stated."""
        if isinstance(self.angles_deg, EvenAngles):
            return np.asarray(self.angles_deg.first_deg + self.angles_deg.step_deg * np.arange(views), np.float64)
        return np.asarray(self.angles_deg, dtype=np.float64)

    def detector(self, bins: int, offset: float) -> Detector:
        """The detector with its offset in mm."""
        centre, detector = self.source_to_centre_mm, self.source_to_detector_mm
        source = None if centre is None or detector is None else (centre, detector)
        return Detector(self.geometry, bins, self.pitch_mm, offset, source)
