"""The detector of a DICOM-CT-PD scan: its values, photons and place, as a fan or along a trajectory.

In the coordinates of a patient on their back, head first, focal centre ``phi`` stands at ``radius (sin phi, -cos
phi)`` in ``(x, y)``, x to the left and y to the back, and ``z`` of the format grows towards the feet; columns grow
against the turning. That is how the released scans are read by others (odl, contrib/datasets/ct). Columns and rows
are reversed here, so that bins grow with the turning and rows towards the head.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.data import Acquisition, Grid
from medldm.errors import Problem
from medldm_rawdata.projections.ct_pd_header import ProjectionHeader, read_values
from medldm_rawdata.projections.ct_pd_scan import ProjectionScan
from medldm_rawdata.projections.measured import (
    DEFAULT_PHOTONS,
    Detector,
    Projections,
    assumed_photons,
    photons_from_air,
    require_finite,
    require_memory,
)
from medldm_rawdata.projections.stated import Stated
from medldm_rawdata.projections.trajectory import Trajectory
from medldm_rawdata.projections.turning import turning
from medldm_rawdata.projections.views import Views

Values = NDArray[np.float32]
# Attenuation of water in 1/mm at any voltage that is used on patients.
_WATER = (0.01, 0.05)


def fan_of(scan: ProjectionScan, path: Path, stated: Stated, max_bytes: int) -> Projections:
    """The fan in the plane of the source: the detector row there, or the mean of the two beside it.

    Raises:
        InputRefused: E-PRJ-01, -02, -04, -06, -07 for the values, E-PRJ-08 for the angles.
    """
    views, rows, columns = scan.shape
    require_memory(64 * views * columns, max_bytes, path.name)
    chosen = _central_rows(scan)
    values = np.empty((1, views, columns), dtype=np.float32)
    for view, header in enumerate(scan.headers):
        values[0, view] = read_values(header)[chosen].mean(0)[::-1]
    require_finite(values, "the projections", path.name)
    angles = Views.of(np.rad2deg(np.unwrap(scan.of("angle"))), views, path.name)
    detector = _fan_detector(scan, stated)
    values, detector, facts, problems = _turned(values, angles.radians, detector)
    if rows > 1:
        facts |= {"rows": [index + 1 for index in chosen], "of_rows": rows}
    blank, dim = _blank(scan.headers, stated, values, len(chosen))
    mu, dry = _water(scan.first, stated)
    row = stated.row_pitch_mm or scan.row_at_axis * len(chosen)
    return Projections(
        values=values,
        views=angles,
        detector=detector,
        grid=stated.image.grid(1, row) if stated.image else detector.grid(1, row),
        photons=float(np.median(blank)),
        counts=np.asarray(blank * np.exp(-values), dtype=np.float32) if blank.ndim else None,
        mu_water=mu,
        oriented=True,
        problems=(*scan.problems, *problems, *dim, *dry),
        facts=facts,
    )


def trajectory_of(scan: ProjectionScan, stated: Stated) -> Trajectory:
    """Where the whole detector is in every view."""
    detector = _fan_detector(scan, stated)
    first, shifts = scan.first, scan.shifts.copy()
    shifts[:, 1] *= -1
    return Trajectory(
        angles=np.unwrap(scan.of("angle")),
        z=-scan.of("z"),
        radius=scan.of("radius"),
        shifts=shifts,
        source_to_detector=first["source_to_detector"],
        pitch=detector.pitch,
        row_pitch=first["row_pitch"],
        offset=detector.offset,
        row_offset=(first.central[1] - (first["rows"] + 1) / 2) * first["row_pitch"],
        curved=scan.curved,
    )


def detector_of(scan: ProjectionScan, path: Path, stated: Stated, max_bytes: int) -> Acquisition:
    """Whole detectors ``(view, row, bin)``.

    Raises:
        InputRefused: as :func:`fan_of`.
    """
    views, rows, columns = scan.shape
    require_memory(3 * 4 * views * rows * columns, max_bytes, path.name)
    values = np.empty(scan.shape, dtype=np.float32)
    for view, header in enumerate(scan.headers):
        values[view] = read_values(header)[::-1, ::-1]
    require_finite(values, "the projections", path.name)
    trajectory = trajectory_of(scan, stated)
    angles = Views.of(np.rad2deg(trajectory.angles), views, path.name)
    # One turn in the middle: further ones see other slices.
    near = np.abs(trajectory.angles - trajectory.angles[views // 2]) <= np.pi
    plane = values[near][:, [rows - 1 - index for index in _central_rows(scan)]].mean(1)[None]
    _, detector, facts, problems = _turned(plane, trajectory.angles[near], _fan_detector(scan, stated))
    if facts["bins"] == "reversed":
        values = np.ascontiguousarray(values[:, :, ::-1])
    trajectory = replace(trajectory, offset=detector.offset)
    blank, dim = _blank(scan.headers, stated, plane, 1)
    mu, dry = _water(scan.first, stated)
    return trajectory.acquisition(
        values,
        path,
        "ct-pd",
        photons=float(np.median(blank)),
        counts=np.asarray(blank[:, None] * np.exp(-values), dtype=np.float32) if blank.ndim else None,
        mu_water=mu,
        # Of a helix angles repeat, and nothing is wrong with that.
        problems=(*scan.problems, *(() if scan.moves else angles.problems), *problems, *dim, *dry),
        facts=facts,
        grid=grid_of(trajectory, scan, stated),
        oriented=True,
    )


def grid_of(trajectory: Trajectory, scan: ProjectionScan, stated: Stated) -> Grid:
    """Of the image of whole detectors: as many slices as reach from where the rows begin to where they end."""
    _, rows, columns = scan.shape
    grid = trajectory.grid(rows, columns)
    pitch = stated.row_pitch_mm or scan.row_at_axis
    slices = max(1, round(grid.shape[0] * scan.row_at_axis / pitch))
    if stated.image:
        return stated.image.grid(slices, pitch)
    return Grid.isotropic((slices, columns, columns), (pitch, *grid.spacing[1:]))


def _central_rows(scan: ProjectionScan) -> list[int]:
    """Index, from 0, of the row in the plane of the source, or of the two beside it."""
    middle = scan.first.central[1] - 1
    low, high = int(np.floor(middle + 1e-3)), int(np.ceil(middle - 1e-3))
    last = scan.shape[1] - 1
    return sorted({min(max(low, 0), last), min(max(high, 0), last)})


def _fan_detector(scan: ProjectionScan, stated: Stated) -> Detector:
    """The detector in the plane of the source; its columns reversed, the central one stays where it is."""
    first, columns = scan.first, scan.shape[2]
    pitch = stated.pitch_mm or first["pitch"]
    offset = (first.central[0] - (columns + 1) / 2) * pitch if stated.offset_mm is None else stated.offset_mm
    source = (first["radius"], first["source_to_detector"])
    return Detector("fan-curved" if scan.curved else "fan-flat", columns, pitch, offset, source)


def _turned(
    values: Values, radians: NDArray[np.float64], detector: Detector
) -> tuple[Values, Detector, dict[str, Any], tuple[Problem, ...]]:
    """Bins in the sense that rays measured twice agree with; both unchanged where they do not tell."""
    assert detector.source is not None
    place = (np.arange(detector.bins) - (detector.bins - 1) / 2) * detector.pitch + detector.offset
    ratio = place / detector.source[1]
    gammas = np.asarray(ratio if detector.geometry == "fan-curved" else np.arctan(ratio), dtype=np.float64)
    found = turning(values[0].astype(np.float64), radians, gammas)
    if found is None:
        sentence = "The order of the bins is that of released scans; no rays measured twice confirm it."
        remedy = "If the image is smeared, the columns of the detector run the other way in this scan."
        return values, detector, {"bins": "assumed"}, (Problem("E-PRJ-21", "warning", sentence, remedy),)
    sense, right, wrong = found
    facts = {"bins": "as released" if sense > 0 else "reversed", "opposite_rays_rms": right, "other_sense_rms": wrong}
    if sense > 0:
        return values, detector, facts, ()
    sentence = f"Rays measured twice agree to {right:.3g} with the columns reversed, to {wrong:.3g} as released scans."
    problem = Problem("E-PRJ-21", "warning", sentence, "They are read reversed; the image may be mirrored.")
    return np.ascontiguousarray(values[..., ::-1]), replace(detector, offset=-detector.offset), facts, (problem,)


def _blank(
    headers: tuple[ProjectionHeader, ...], stated: Stated, values: Values, rows: int
) -> tuple[NDArray[np.float32], tuple[Problem, ...]]:
    """Photons without an object: of every view and bin where the file states them, else one number."""
    if stated.photons:
        return np.float32(stated.photons) * np.ones((), np.float32), ()
    bins = values.shape[2]
    if all(header.photons.shape == (bins,) and bool((header.photons > 0).all()) for header in headers):
        return rows * np.stack([header.photons[::-1] for header in headers]), ()
    photons = photons_from_air(values)
    if photons is None:
        return np.full((), DEFAULT_PHOTONS, np.float32), (assumed_photons(),)
    return np.full((), photons, np.float32), ()


def _water(header: ProjectionHeader, stated: Stated) -> tuple[float | None, tuple[Problem, ...]]:
    """Attenuation of water in 1/mm, as stated beside, or as the scanner calibrates HU by it."""
    if stated.mu_water_per_mm is not None:
        return stated.mu_water_per_mm, ()
    value = header.numbers.get("water", header.numbers.get("water_older"))
    if value is not None and _WATER[0] < value < _WATER[1]:
        return value, ()
    found = "not stated" if value is None else f"stated as {value:g}"
    sentence = f"The attenuation of water, which calibrates HU, is {found}: the image is written in 1/mm."
    return None, (
        Problem("E-PRJ-23", "warning", sentence, "It is about 0.02 per mm; state mu_water_per_mm in NAME.medldm.json."),
    )
