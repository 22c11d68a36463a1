"""Measurements of whole detectors along any trajectory, for physics in three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medldm.data import Acquisition, AffineMap, Grid, History, Source
from medldm.data.intensity import attenuation_from_hu
from medldm.errors import Problem

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Where source and detector are in every view; lengths in mm, angles in radians.

    The focal centre of view ``beta`` stands at ``radius (sin beta, -cos beta)`` in ``(x, y)``, as in a fan, at height
    ``z``; bins grow along ``(cos beta, sin beta)``, rows along z. The focal spot is the focal centre with its shifts
    added to angle, height and radius.

    Attributes:
        angles, z, radius: of the detector's focal centre, one per view.
        shifts: (view, 3) of the focal spot: angle, along z, radial.
        source_to_detector: from the focal centre.
        pitch, row_pitch: distances of bins and rows on the detector.
        offset, row_offset: position of the detector's middle, seen from the focal centre through the axis.
        curved: whether the detector is a cylinder around the focal centre.
    """

    angles: Array
    z: Array
    radius: Array
    shifts: Array
    source_to_detector: float
    pitch: float
    row_pitch: float
    offset: float
    row_offset: float
    curved: bool

    @property
    def physics(self) -> str:
        """What explains such a measurement: ``ct-helical`` where the source moves along z, ``ct-cone`` elsewhere."""
        magnification = self.source_to_detector / float(self.radius[0])
        return "ct-helical" if np.ptp(self.z) > 0.1 * self.row_pitch / magnification else "ct-cone"

    @property
    def source(self) -> Array:
        """(view, 3) focal spots ``(x, y, z)``."""
        angle, radius = self.angles + self.shifts[:, 0], self.radius + self.shifts[:, 2]
        return np.stack((radius * np.sin(angle), -radius * np.cos(angle), self.z + self.shifts[:, 1]), axis=1)

    def grid(self, rows: int, bins: int) -> Grid:
        """Pixels of a bin and slices of a row at the axis, over what the detector's middle passes along z."""
        size = float(self.radius[0]) / self.source_to_detector
        slices = max(1, round(rows + float(np.ptp(self.z)) / (self.row_pitch * size)))
        return Grid.isotropic((slices, bins, bins), (self.row_pitch * size, self.pitch * size, self.pitch * size))

    def settings(self) -> dict[str, Any]:
        """Numbers and words that are the same in every view."""
        return {
            "geometry": "cone-curved" if self.curved else "cone-flat",
            "pitch_mm": self.pitch,
            "row_pitch_mm": self.row_pitch,
            "offset_mm": self.offset,
            "row_offset_mm": self.row_offset,
            "angle_unit": "rad",
            "source_to_centre_mm": float(self.radius[0]),
            "source_to_detector_mm": self.source_to_detector,
        }

    def acquisition(
        self,
        values: NDArray[np.float32],
        path: Path,
        format_: str,
        *,
        photons: float,
        counts: NDArray[np.float32] | None,
        mu_water: float | None,
        problems: tuple[Problem, ...],
        facts: dict[str, Any],
        grid: Grid | None = None,
    ) -> Acquisition:
        """The measurement ``(view, row, bin)`` of line integrals, named after the physics that it needs."""
        history = History().then("read", format=format_, **facts)
        for problem in problems:
            if problem.severity == "warning":
                history = history.then("warning", code=problem.code, sentence=problem.sentence)
        tensors = {"angles": self.angles, "z_mm": self.z, "radius_mm": self.radius, "source_mm": self.source}
        arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()}
        arrays["focal_spot_shift"] = torch.from_numpy(self.shifts.copy())
        if counts is not None:
            arrays["counts"] = torch.from_numpy(counts)
        settings = self.settings() | {"photons": photons, "electronic_std": 0.0}
        if mu_water is not None:
            settings["mu_water_per_mm"] = mu_water
        return Acquisition(
            physics=self.physics,
            data=torch.from_numpy(values),
            axes=("view", "row", "bin"),
            grid=grid or self.grid(values.shape[1], values.shape[2]),
            quantity="1/mm",
            modality="CT",
            output=AffineMap.identity("1/mm") if mu_water is None else attenuation_from_hu(mu_water).inverse,
            tensors=arrays,
            settings=settings,
            name=format_,
            history=history,
            source=Source(format_, (path,)),
        )
