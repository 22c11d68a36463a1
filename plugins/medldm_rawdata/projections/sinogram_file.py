"""Sinograms in NumPy or NIfTI files with a JSON beside them, as acquisitions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from medldm.data import Acquisition, SeriesRow
from medldm_rawdata.projections.content import line_integrals
from medldm_rawdata.projections.described import INSPECTED, DescribedReader, described
from medldm_rawdata.projections.fan_centre import find_fan_centre
from medldm_rawdata.projections.measured import Projections
from medldm_rawdata.projections.rotation_centre import centre_not_found, find_centre
from medldm_rawdata.projections.row import row_of
from medldm_rawdata.projections.sinogram_header import AXES, FORMAT, SinogramHeader
from medldm_rawdata.projections.stated import parse
from medldm_rawdata.projections.views import Array, Views


@dataclass(frozen=True)
class SinogramReader(DescribedReader):
    """Reads ``NAME.json`` of format ``medldm-sinogram`` and the array that it names, in the same folder."""

    name: ClassVar[str] = "sinogram"
    format: ClassVar[str] = FORMAT

    def acquisition(self, path: Path, max_bytes: int) -> Acquisition:
        return _read(described(path), max_bytes).acquisition(path, self.name)

    def row(self, path: Path) -> SeriesRow:
        return row_of(path, self.name, _read(described(path), INSPECTED))


def _read(path: Path, max_bytes: int) -> Projections:
    header = parse(SinogramHeader, path)
    array = header.measured(path, header.axes, AXES, "the sinogram", 5 * 8, max_bytes)
    measured = array.reshape(-1, *array.shape[-2:])
    views = Views.of(header.degrees(measured.shape[1]), measured.shape[1], path.name)
    values, counts, problems = line_integrals(measured, header.content, header.photons, header.data, view_axis=1)
    photons, assumed = header.photons_of(values)
    offset, facts = 0.0, dict[str, object]()
    if header.offset_mm == "find":
        rows = np.unique(np.linspace(0, len(values) - 1, min(4, len(values))).round().astype(int))
        offset, facts = _found_offset(values[rows].astype(np.float64), views, header, path)
    else:
        offset = header.offset_mm
    detector = header.detector(values.shape[2], offset)
    row = header.row_pitch_mm or header.pitch_mm / detector.magnification
    return Projections(
        values=values,
        views=views,
        detector=detector,
        grid=header.image.grid(len(values), row) if header.image else detector.grid(len(values), row),
        photons=photons,
        electronic_std=header.electronic_std,
        counts=counts,
        weights=header.weights,
        mu_water=header.mu_water_per_mm,
        simulated=header.simulated,
        problems=(*problems, *assumed),
        facts=facts | {"content": header.content, "photons": photons},
    )


def _found_offset(values: Array, views: Views, header: SinogramHeader, path: Path) -> tuple[float, dict[str, object]]:
    far = header.source_to_detector_mm
    if far is None:
        centre = find_centre(values, views.degrees)
    else:
        centre = find_fan_centre(
            values,
            views.degrees,
            pitch=header.pitch_mm,
            source_to_detector=far,
            curved=header.geometry == "fan-curved",
        )
    if centre is None:
        raise centre_not_found(path.name, "offset_mm")
    return centre.offset(values.shape[-1], header.pitch_mm)
