"""The JSON that describes a sinogram kept in a NumPy or NIfTI file."""

from __future__ import annotations

from typing import Literal, Self

import pydantic

from medldm_rawdata.projections.described import Number, ProjectionHeader
from medldm_rawdata.projections.measured import Detector, GeometryName
from medldm_rawdata.projections.stated import ImageGrid, Length

FORMAT: Literal["medldm-sinogram"] = "medldm-sinogram"
AxisName = Literal["z", "view", "bin"]
AXES: tuple[AxisName, ...] = ("z", "view", "bin")


class SinogramHeader(ProjectionHeader):
    """What one measurement needs besides its numbers; the README of the plugin explains each entry."""

    format: Literal["medldm-sinogram"]
    axes: tuple[AxisName, ...] = AXES
    geometry: GeometryName
    pitch_mm: Length
    offset_mm: Number | Literal["find"] = 0.0
    row_pitch_mm: Length | None = None
    source_to_centre_mm: Length | None = None
    source_to_detector_mm: Length | None = None
    weights: Literal["half-turn", "full-turn", "short-scan", "displaced", "limited"] | None = None
    image: ImageGrid | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        distances = (self.source_to_centre_mm, self.source_to_detector_mm)
        if self.geometry == "parallel" and distances != (None, None):
            raise ValueError("parallel rays have no source; leave out source_to_centre_mm and source_to_detector_mm")
        if self.geometry != "parallel" and None in distances:
            raise ValueError("a fan needs source_to_centre_mm and source_to_detector_mm")
        if sorted(self.axes) not in (sorted(AXES), sorted(AXES[1:])):
            raise ValueError("axes are z, view and bin in any order, or view and bin")
        return self

    def detector(self, bins: int, offset: float) -> Detector:
        """The detector with its offset in mm."""
        centre, detector = self.source_to_centre_mm, self.source_to_detector_mm
        source = None if centre is None or detector is None else (centre, detector)
        return Detector(self.geometry, bins, self.pitch_mm, offset, source)
