"""Cone-beam and helical projections in NumPy or NIfTI files with a JSON beside them, as acquisitions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medldm.data import Acquisition, SeriesRow
from medldm.errors import InputRefused
from medldm_rawdata.projections.cone_header import AXES, FORMAT, ConeHeader
from medldm_rawdata.projections.content import line_integrals
from medldm_rawdata.projections.described import INSPECTED, DescribedReader, described
from medldm_rawdata.projections.fan_centre import find_fan_centre
from medldm_rawdata.projections.rotation_centre import centre_not_found
from medldm_rawdata.projections.row import row_of_acquisition
from medldm_rawdata.projections.stated import parse
from medldm_rawdata.projections.views import Views


@dataclass(frozen=True)
class ConeBeamReader(DescribedReader):
    """Reads ``NAME.json`` of format ``medldm-cone-beam`` and the array that it names, in the same folder."""

    name: ClassVar[str] = "cone-beam"
    format: ClassVar[str] = FORMAT

    def acquisition(self, path: Path, max_bytes: int) -> Acquisition:
        return _read(described(path), max_bytes)

    def row(self, path: Path) -> SeriesRow:
        return row_of_acquisition(path, self.name, _read(described(path), INSPECTED))


def _read(path: Path, max_bytes: int) -> Acquisition:
    header = parse(ConeHeader, path)
    measured = header.measured(path, header.axes, AXES, "the projections", 5 * 4, max_bytes)
    views = len(measured)
    checked = Views.of(header.degrees(views), views, path.name)
    values, counts, problems = line_integrals(measured, header.content, header.photons, header.data, view_axis=0)
    offset, found = _column_offset(header, values, checked, path)
    trajectory = header.trajectory(views, offset)
    if len(trajectory.z) != views:
        raise InputRefused(
            "E-PRJ-08",
            f"The heights of {path.name} cannot be used: {len(trajectory.z)} heights for {views} views.",
            why="Every view needs its own place along the axis.",
            fix="Store one finite height per view.",
        )
    photons, assumed = header.photons_of(values.swapaxes(0, 1))
    return trajectory.acquisition(
        values,
        path,
        "cone-beam",
        photons=photons,
        counts=counts,
        mu_water=header.mu_water_per_mm,
        # Of a helix angles repeat, and nothing is wrong with that.
        problems=(*(() if trajectory.moves else checked.problems), *problems, *assumed),
        facts=found | {"content": header.content, "photons": photons},
        grid=header.grid(),
        electronic_std=header.electronic_std,
        weights=header.weights,
        simulated=header.simulated,
    )


def _column_offset(
    header: ConeHeader, values: NDArray[np.float32], views: Views, path: Path
) -> tuple[float, dict[str, object]]:
    """In mm, as stated, or found from the plane of the source, where a full turn measures each line from both ends."""
    if header.column_offset_mm != "find":
        return header.column_offset_mm, {}
    rows, columns = values.shape[1:]
    plane = (rows - 1) / 2 - header.row_offset_mm / header.row_pitch_mm
    centre = None
    if 0 <= plane <= rows - 1:
        low = min(int(plane), max(0, rows - 2))
        fans = (1 - (plane - low)) * values[:, low] + (plane - low) * values[:, min(low + 1, rows - 1)]
        centre = find_fan_centre(
            fans[None].astype(np.float64),
            views.degrees,
            pitch=header.column_pitch_mm,
            source_to_detector=header.source_to_detector_mm,
            curved=header.detector == "curved",
        )
    if centre is None:
        raise centre_not_found(path.name, "column_offset_mm")
    return centre.offset(columns, header.column_pitch_mm)
