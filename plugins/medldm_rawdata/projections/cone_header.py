"""The JSON that describes cone-beam or helical projections kept in a NumPy or NIfTI file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
import pydantic

from medldm.data import Grid
from medldm_rawdata.projections.described import Number, ProjectionHeader, evenly
from medldm_rawdata.projections.stated import Length, Strict
from medldm_rawdata.projections.trajectory import Trajectory
from medldm_rawdata.projections.views import Array

FORMAT: Literal["medldm-cone-beam"] = "medldm-cone-beam"
AxisName = Literal["view", "row", "column"]
AXES: tuple[AxisName, ...] = ("view", "row", "column")
_Count = Annotated[int, pydantic.Field(ge=1, le=16384)]


class EvenHeights(Strict):
    """Heights of the source at equal steps.

    Attributes:
        first_mm: of the first view.
        step_mm: from one view to the next.
    """

    first_mm: Number
    step_mm: Number


class ImageBox(Strict):
    """Voxels of the image, centred on the axis of rotation and on the source's path along it.

    Attributes:
        voxels: slices, rows and columns.
        voxel_mm: size of a voxel along z, y and x.
    """

    voxels: tuple[_Count, _Count, _Count]
    voxel_mm: tuple[Length, Length, Length]


class ConeHeader(ProjectionHeader):
    """What one measurement needs besides its numbers; the README of the plugin explains each entry."""

    format: Literal["medldm-cone-beam"]
    axes: tuple[AxisName, AxisName, AxisName] = ("view", "row", "column")
    detector: Literal["flat", "curved"]
    heights_mm: list[Number] | EvenHeights | None = None
    column_pitch_mm: Length
    row_pitch_mm: Length
    column_offset_mm: Number | Literal["find"] = 0.0
    row_offset_mm: Number = 0.0
    source_to_centre_mm: Length
    source_to_detector_mm: Length
    weights: Literal["full-turn", "short-scan", "displaced", "limited"] | None = None
    image: ImageBox | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if sorted(self.axes) != sorted(AXES):
            raise ValueError("axes are view, row and column, in any order")
        if self.source_to_centre_mm >= self.source_to_detector_mm:
            raise ValueError("the detector must be farther from the source than the axis of rotation")
        if self.weights is not None and self.heights_mm is not None:
            raise ValueError("weights are those of a circle; a helix, which heights_mm make it, has none")
        if self.column_offset_mm == "find" and self.heights_mm is not None:
            raise ValueError("column_offset_mm is found on a circle only; state that of a helix (heights_mm)")
        return self

    def heights(self, views: int) -> Array:
        """One height of the source per view, as many as are stated; zero on a circle."""
        if self.heights_mm is None:
            return np.zeros(views)
        if isinstance(self.heights_mm, EvenHeights):
            return evenly(self.heights_mm.first_mm, self.heights_mm.step_mm, views)
        return np.asarray(self.heights_mm, dtype=np.float64)

    def trajectory(self, views: int, column_offset: float) -> Trajectory:
        """Where source and detector are; angles and heights as many as are stated.

        Args:
            views: that were measured.
            column_offset: in mm, as stated or found.
        """
        degrees = self.degrees(views)
        return Trajectory(
            angles=np.asarray(np.deg2rad(degrees)),
            z=self.heights(views),
            radius=np.full(len(degrees), self.source_to_centre_mm),
            shifts=np.zeros((len(degrees), 3)),
            source_to_detector=self.source_to_detector_mm,
            pitch=self.column_pitch_mm,
            row_pitch=self.row_pitch_mm,
            offset=column_offset,
            row_offset=self.row_offset_mm,
            curved=self.detector == "curved",
        )

    def grid(self) -> Grid | None:
        """Of the image, where it is stated."""
        return Grid.isotropic(self.image.voxels, self.image.voxel_mm) if self.image else None
