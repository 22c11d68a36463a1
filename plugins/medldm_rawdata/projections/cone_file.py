"""Cone-beam and helical projections in NumPy or NIfTI files with a JSON beside them, as acquisitions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medldm.data import Acquisition, SeriesRow
from medldm.errors import InputRefused
from medldm_rawdata.projections.cone_header import AXES, FORMAT, ConeHeader
from medldm_rawdata.projections.content import line_integrals
from medldm_rawdata.projections.described import INSPECTED, DescribedReader, described
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
    trajectory = header.trajectory(views)
    if len(trajectory.z) != views:
        raise InputRefused(
            "E-PRJ-08",
            f"The heights of {path.name} cannot be used: {len(trajectory.z)} heights for {views} views.",
            why="Every view needs its own place along the axis.",
            fix="Store one finite height per view.",
        )
    checked = Views.of(header.degrees(views), views, path.name)
    values, counts, problems = line_integrals(measured, header.content, header.photons, header.data)
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
        facts={"content": header.content, "photons": photons},
        grid=header.grid(),
        electronic_std=header.electronic_std,
        weights=header.weights,
        simulated=header.simulated,
    )
