"""Sinograms in NumPy or NIfTI files with a JSON beside them, as acquisitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medldm.data import Acquisition, ReadRequest, SeriesRow, Volume
from medldm.errors import InputRefused, Problem
from medldm_rawdata.projections.array_file import read_array
from medldm_rawdata.projections.fan_centre import find_fan_centre
from medldm_rawdata.projections.measured import (
    DEFAULT_PHOTONS,
    Projections,
    assumed_photons,
    photons_from_air,
    require_finite,
    require_memory,
)
from medldm_rawdata.projections.rotation_centre import find_centre
from medldm_rawdata.projections.row import row_of, row_of_refusal
from medldm_rawdata.projections.sinogram_header import AXES, FORMAT, SinogramHeader
from medldm_rawdata.projections.stated import parse
from medldm_rawdata.projections.views import Array, Views

_INSPECTED = 4 * 2**30


@dataclass(frozen=True)
class SinogramReader:
    """Reads ``NAME.json`` of format ``medldm-sinogram`` and the array that it names, in the same folder."""

    def accepts(self, path: Path) -> bool:
        """A JSON that says so, or a NumPy file with such a JSON of its name beside it."""
        try:
            with _described(path).open("rb") as file:
                return FORMAT.encode() in file.read(4096)
        except OSError:
            return False

    def inspect(self, path: Path) -> list[SeriesRow]:
        """One row; the sinogram is read for what its values tell."""
        try:
            found = _read(_described(path), _INSPECTED)
        except InputRefused as refusal:
            return [row_of_refusal(path, "sinogram", refusal)]
        return [row_of(path, "sinogram", found)]

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        """The one measurement.

        Raises:
            InputRefused: E-PRJ-01 to E-PRJ-08, E-PRJ-12 and E-PRJ-16, see the plugin's README.
        """
        return [_read(_described(path), request.max_bytes).acquisition(path, "sinogram")]


def _described(path: Path) -> Path:
    return path.with_suffix(".json") if path.suffix.lower() in (".npy", ".npz") else path


def _read(path: Path, max_bytes: int) -> Projections:
    header = parse(SinogramHeader, path)
    array = read_array(path.with_name(header.data), header.array, max_bytes)
    if array.ndim != len(header.axes) or 0 in array.shape:
        raise InputRefused(
            "E-PRJ-04",
            f"{header.data} is of shape {array.shape}, its axes are {', '.join(header.axes)}.",
            why="Every axis needs its name, and none may be empty.",
            fix="Correct 'axes' in the JSON file; NIfTI axes are named from the last to the first.",
        )
    require_memory(5 * 8 * array.size, max_bytes, header.data)
    require_finite(array, "the sinogram", header.data)
    order = [header.axes.index(axis) for axis in AXES if axis in header.axes]
    measured = array.transpose(order).reshape(-1, *(array.shape[i] for i in order[-2:]))
    views = Views.of(header.degrees(measured.shape[1]), measured.shape[1], path.name)
    values, counts, problems = _integrals(measured, header)
    photons = header.photons or photons_from_air(values)
    if photons is None:
        photons, problems = DEFAULT_PHOTONS, (*problems, assumed_photons())
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
        problems=problems,
        facts=facts | {"content": header.content, "photons": photons},
    )


def _integrals(
    measured: NDArray[np.generic], header: SinogramHeader
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, tuple[Problem, ...]]:
    """Line integrals ``(z, view, bin)``, the photons behind them where they were stored, and warnings."""
    if header.content == "line-integrals":
        return np.ascontiguousarray(measured, dtype=np.float32), None, ()
    photons = header.photons if header.content == "counts" and header.photons else 1.0
    transmission = np.asarray(measured, dtype=np.float64) / photons
    floor = 1.0 / (header.photons or DEFAULT_PHOTONS)
    starved = int((transmission <= 0).sum())
    if starved > transmission.size // 2:
        raise InputRefused(
            "E-PRJ-12",
            f"{starved} of {transmission.size} values of {header.data} are zero or negative.",
            why="There is hardly any beam behind the object, or the values are not what 'content' says.",
            fix="Correct 'content' in the JSON file: line-integrals, transmission or counts.",
        )
    problems: tuple[Problem, ...] = ()
    if starved:
        sentence = f"{starved} of {transmission.size} values are zero or negative."
        problems = (Problem("E-PRJ-12", "warning", sentence, "Their logarithm takes them as one photon."),)
    integrals = -np.log(np.maximum(transmission, floor))
    counts = np.ascontiguousarray(measured, dtype=np.float32) if header.content == "counts" else None
    return np.ascontiguousarray(integrals, dtype=np.float32), counts, problems


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
        raise InputRefused(
            "E-PRJ-14",
            f"The centre of rotation of {path.name} cannot be found.",
            why="The views do not measure lines twice, or the two measurements do not tell one centre from others.",
            fix="State offset_mm, the position of the detector's middle seen from the axis of rotation.",
        )
    bin_ = round(centre.bin, 3)
    offset = ((values.shape[-1] - 1) / 2 - bin_) * header.pitch_mm
    return offset, {"centre_bin": bin_, "centre_from": centre.method}
