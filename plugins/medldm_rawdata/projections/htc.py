"""Fan-beam sinograms of the Helsinki Tomography Challenge 2022 and its laboratory, MATLAB structs ``CtData*``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medldm.data import Acquisition, ReadRequest, SeriesRow, Volume
from medldm.errors import InputRefused, Problem
from medldm_rawdata.projections.matlab_file import first_name, later_names, require_readable, variables
from medldm_rawdata.projections.measured import (
    DEFAULT_PHOTONS,
    Detector,
    Projections,
    assumed_photons,
    photons_from_air,
    require_finite,
    require_memory,
)
from medldm_rawdata.projections.row import row_of, row_of_refusal
from medldm_rawdata.projections.stated import Stated, stated_file
from medldm_rawdata.projections.views import Views

_PREFIX = "CtData"
# Of an inspection, which is not asked how much it may take.
_INSPECTED = 2 * 2**30
# Two distances and a magnification, or two counts of the same thing, may differ by rounding only.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class HtcReader:
    """Reads a struct ``CtDataLimited`` or ``CtDataFull`` with ``sinogram`` and ``parameters``."""

    def accepts(self, path: Path) -> bool:
        """A MATLAB 5 file whose first variable is such a struct; one of MATLAB 7.3 is refused when it is read."""
        if path.suffix.lower() != ".mat" or not path.is_file():
            return False
        return any(name.startswith(_PREFIX) for name in (first_name(path), *(later_names(path) or ())))

    def files(self, path: Path) -> list[Path]:
        """With what is stated beside it."""
        return [path, stated_file(path)]

    def inspect(self, path: Path) -> list[SeriesRow]:
        """One row; a file holds one small sinogram, which is read."""
        try:
            found = _read(path, _INSPECTED)
        except InputRefused as refusal:
            return [row_of_refusal(path, "htc-fan", refusal)]
        return [row_of(path, "htc-fan", found)]

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        """The one sinogram.

        Raises:
            InputRefused: E-PRJ-01 to E-PRJ-08, E-PRJ-16 to E-PRJ-18 and E-PRJ-26, see the plugin's README.
        """
        request.require_only_scan(path)
        return [_read(path, request.max_bytes).acquisition(path, "htc-fan")]


def _read(path: Path, max_bytes: int) -> Projections:
    require_readable(path)
    found = variables(path, max_bytes)
    name = next((key for key in found if key.startswith(_PREFIX)), None)
    if name is None:
        raise InputRefused(
            "E-PRJ-03",
            f"{path.name} has no struct CtDataLimited or CtDataFull; it has {', '.join(sorted(found)) or 'nothing'}.",
            why="That struct holds the sinogram and the geometry.",
            fix="Give the file of a measurement; masks and reconstructions are images.",
        )
    scan = _struct(path, found, name)
    parameters = _struct(path, scan, "parameters")
    if scan.get("type", "2d") != "2d":
        raise _unsupported(path, f"its type is {scan.get('type')!r}")
    sinogram = scan.get("sinogram")
    if not isinstance(sinogram, np.ndarray) or sinogram.ndim != 2 or 0 in sinogram.shape:
        raise InputRefused(
            "E-PRJ-04",
            f"The sinogram of {path.name} is no matrix of views and bins.",
            why="Other arrangements cannot be told apart by looking at them.",
            fix="Store sinogram as (view, bin).",
        )
    require_memory(24 * sinogram.size, max_bytes, path.name)
    require_finite(sinogram, "sinogram", path.name)
    values = np.ascontiguousarray(sinogram, dtype=np.float32)[None]
    stated = Stated.beside(path)
    angles = parameters.get("angles")
    if not isinstance(angles, np.ndarray):
        raise _missing(path, "angles")
    views = Views.of(angles, values.shape[1], path.name)
    detector = _detector(path, parameters, values.shape[2], stated)
    photons, problems = stated.photons or photons_from_air(values), tuple[Problem, ...]()
    if photons is None:
        photons, problems = DEFAULT_PHOTONS, (assumed_photons(),)
    row = stated.row_pitch_mm or detector.pitch / detector.magnification
    return Projections(
        values=values,
        views=views,
        detector=detector,
        grid=stated.image.grid(1, row) if stated.image else detector.grid(1, row),
        photons=photons,
        mu_water=stated.mu_water_per_mm,
        problems=problems,
        facts={"struct": name, "photons": photons},
    )


def _detector(path: Path, parameters: Mapping[str, Any], bins: int, stated: Stated) -> Detector:
    """The flat detector of the file's parameters, which must not contradict each other."""
    if (unit := parameters.get("distanceUnit", "mm")) != "mm":
        raise InputRefused(
            "E-PRJ-18",
            f"The distances of {path.name} are in {unit!r}.",
            why="The geometry is read in mm.",
            fix="Convert them, and set distanceUnit to 'mm'.",
        )
    if parameters.get("geometryType", "Cone").lower() not in ("cone", "fan"):
        raise _unsupported(path, f"its geometryType is {parameters.get('geometryType')!r}")
    to_centre = _number(path, parameters, "distanceSourceOrigin")
    to_detector = _number(path, parameters, "distanceSourceDetector")
    pitch = stated.pitch_mm or _number(path, parameters, "pixelSizePost")
    faults = []
    if not 0 < to_centre < to_detector:
        faults.append(f"source to axis {to_centre:g} mm, to detector {to_detector:g} mm")
    elif "geometricMagnification" in parameters:
        magnification = _number(path, parameters, "geometricMagnification")
        if abs(magnification * to_centre / to_detector - 1) > _ROUNDING:
            faults.append(f"magnification {magnification:g} by distances of {to_centre:g} and {to_detector:g} mm")
    if "numDetectorsPost" in parameters and int(_number(path, parameters, "numDetectorsPost")) != bins:
        faults.append(f"{_number(path, parameters, 'numDetectorsPost'):g} detectors for {bins} bins")
    if pitch <= 0:
        faults.append(f"bins of {pitch:g} mm")
    if faults:
        raise InputRefused(
            "E-PRJ-17",
            f"The geometry of {path.name} contradicts itself: {'; '.join(faults)}.",
            why="Geometry is never guessed.",
            fix="Correct the parameters of the file.",
        )
    return Detector("fan-flat", bins, pitch, stated.offset_mm or 0.0, (to_centre, to_detector))


def _struct(path: Path, parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise _missing(path, name)
    return value


def _number(path: Path, parameters: Mapping[str, Any], name: str) -> float:
    value = parameters.get(name)
    if not isinstance(value, np.ndarray) or value.size != 1 or not np.isfinite(value).all():
        raise _missing(path, name)
    return float(value.ravel()[0])


def _missing(path: Path, name: str) -> InputRefused:
    return InputRefused(
        "E-PRJ-03",
        f"{path.name} has no usable {name!r}.",
        why="Rays cannot be placed in the image without it, and geometry is never guessed.",
        fix="Store it in the struct's parameters, a single number in mm (angles: one per view in degrees).",
    )


def _unsupported(path: Path, what: str) -> InputRefused:
    return InputRefused(
        "E-PRJ-17",
        f"{path.name} is no fan-beam measurement of one row: {what}.",
        why="The physics projects slices; rays that leave their slice would be put in the wrong place.",
        fix="Extract the central row of the detector.",
    )
