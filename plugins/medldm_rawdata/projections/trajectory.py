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
from medldm_rawdata.projections.measured import Detector
from medldm_rawdata.projections.plausible import doubts, lost_views, out_of_scale, require_content
from medldm_rawdata.projections.views import Views

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Where source and detector are in every view; lengths in mm, angles in radians.

    It is stored as the physics ``ct-cone`` and ``ct-helical`` explain it: an orbit, and, where the focal spot flies or
    the radius changes, four vectors for each view beside the orbit of the focal centre.

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
        return "ct-helical" if self.moves else "ct-cone"

    @property
    def moves(self) -> bool:
        """Whether the source moves along z, by more than a tenth of a row at the axis."""
        return bool(np.ptp(self.z) > 0.1 * self.row_pitch * float(self.radius[0]) / self.source_to_detector)

    @property
    def heights(self) -> Array:
        """Of the focal centre, from the middle of its path; zero where it rests."""
        return self.z - (self.z.min() + self.z.max()) / 2 if self.moves else np.zeros_like(self.z)

    @property
    def source(self) -> Array:
        """(view, 3) focal spots ``(x, y, z)``, z from the middle of the path."""
        angle, radius = self.angles + self.shifts[:, 0], self.radius + self.shifts[:, 2]
        return np.stack((radius * np.sin(angle), -radius * np.cos(angle), self.heights + self.shifts[:, 1]), axis=1)

    def vectors(self) -> dict[str, Array]:
        """(view, 3) focal spots, middles of the detector, and the directions of its columns and rows.

        A curved detector is a cylinder around the focal centre, and is taken for one around the focal spot: 1 mm apart,
        bins 20 degrees off the middle are misplaced by 0.06 mm.
        """
        zero = np.zeros_like(self.angles)
        arc = self.offset / self.source_to_detector if self.curved else 0.0
        focus = np.stack((self.radius * np.sin(self.angles), -self.radius * np.cos(self.angles), self.heights), axis=1)
        across = np.stack((np.cos(self.angles - arc), np.sin(self.angles - arc), zero), axis=1)
        away = np.stack((-np.sin(self.angles - arc), np.cos(self.angles - arc), zero), axis=1)
        up = np.stack((zero, zero, zero + 1), axis=1)
        middle = focus + self.source_to_detector * away + self.row_offset * up
        return {
            "source_mm": self.source,
            "detector_mm": middle if self.curved else middle + self.offset * across,
            "columns_along": across,
            "rows_along": up,
        }

    @property
    def is_orbit(self) -> bool:
        """Whether angles and heights say all."""
        return not bool(self.shifts.any()) and bool(np.ptp(self.radius) <= 1e-6 * float(self.radius[0]))

    def grid(self, rows: int, bins: int) -> Grid:
        """Pixels of a bin and slices of a row at the axis, over what the detector's middle passes along z."""
        size = float(self.radius[0]) / self.source_to_detector
        slices = max(1, round(rows + float(np.ptp(self.z)) / (self.row_pitch * size)))
        return Grid.isotropic((slices, bins, bins), (self.row_pitch * size, self.pitch * size, self.pitch * size))

    def settings(self, bins: int, weights: str | None = None) -> tuple[dict[str, Any], tuple[Problem, ...]]:
        """Numbers and words that are the same in every view, and warnings about the weights of a circle.

        Args:
            bins: of a row.
            weights: of a circle, where they are stated.
        """
        settings: dict[str, Any] = {
            "geometry": "cone-curved" if self.curved else "cone-flat",
            "column_pitch_mm": self.pitch,
            "row_pitch_mm": self.row_pitch,
            "column_offset_mm": self.offset,
            "row_offset_mm": self.row_offset,
            "angle_unit": "rad",
            "source_to_centre_mm": float(self.radius[0]),
            "source_to_detector_mm": self.source_to_detector,
        }
        if self.moves:
            return settings, ()
        views = Views.of(np.rad2deg(self.angles), len(self.angles), "the scan")
        source = (float(self.radius[0]), self.source_to_detector)
        fan = Detector("fan-curved" if self.curved else "fan-flat", bins, self.pitch, self.offset, source)
        in_plane, problems = fan.settings(views, weights)
        return settings | {name: in_plane[name] for name in ("weights", "arc_deg")}, problems

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
        electronic_std: float = 0.0,
        weights: str | None = None,
        simulated: bool = False,
        oriented: bool = False,
    ) -> Acquisition:
        """The measurement ``(view, row, column)`` of line integrals, named after the physics that it needs.

        Raises:
            InputRefused: E-PRJ-26 when all line integrals are zero, E-PRJ-17 when the weights do not fit the scan.
        """
        require_content(values)
        settings, more = self.settings(values.shape[2], weights)
        found = doubts(values, photons, self.offset / (values.shape[2] * self.pitch), counts)
        width = values.shape[2] * self.pitch * float(self.radius[0]) / self.source_to_detector
        found += out_of_scale(values, width, mu_water, counts)
        if self.moves:
            found += lost_views(self.angles, self.z)
        history = History().then("read", format=format_, **facts).noticed((*problems, *found, *more))
        if not oriented:
            history = history.orientation_assumed()
        tensors = {"angles": self.angles} | ({"heights_mm": self.heights} if self.moves else {})
        tensors |= {} if self.is_orbit else self.vectors()
        arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()}
        if counts is not None:
            arrays["counts"] = torch.from_numpy(counts)
        settings |= {"photons": photons, "electronic_std": electronic_std}
        if mu_water is not None:
            settings["mu_water_per_mm"] = mu_water
        return Acquisition(
            physics=self.physics,
            data=torch.from_numpy(values),
            axes=("view", "row", "column"),
            grid=grid or self.grid(values.shape[1], values.shape[2]),
            quantity="1/mm",
            modality="CT",
            output=AffineMap.identity("1/mm") if mu_water is None else attenuation_from_hu(mu_water).inverse,
            tensors=arrays,
            settings=settings,
            simulated=simulated,
            name=format_,
            history=history,
            source=Source(format_, (path,)),
        )
