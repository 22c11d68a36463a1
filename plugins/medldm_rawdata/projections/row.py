"""What ``medldm inspect`` says of projections."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medldm.data import Acquisition, SeriesRow
from medldm.errors import InputRefused, Problem
from medldm_rawdata.projections.measured import Projections


def row_of(path: Path, format_: str, found: Projections) -> SeriesRow:
    """One row with the geometry in words; the shape is that of the image to reconstruct."""
    detector, views = found.detector, found.views
    settings, more = detector.settings(views, found.weights)
    parts = [
        f"{detector.geometry}: {len(views.degrees)} views {views.degrees.min():.5g} to {views.degrees.max():.5g} deg",
        f"{found.grid.shape[0]} rows of {detector.bins} bins of {detector.pitch:.4g} mm",
        f"weights {settings['weights']}",
    ]
    if detector.source:
        parts.append(f"source to axis {detector.source[0]:g} mm, to detector {detector.source[1]:g} mm")
    if "centre_bin" in found.facts:
        parts.append(f"centre of rotation at bin {found.facts['centre_bin']:.2f} ({found.facts['centre_from']})")
    parts.append(f"{found.photons:.3g} photons per bin")
    parts.append(f"line integrals to {float(np.max(found.values)):.3g}")
    description = ", ".join(parts) + (" SIMULATED" if found.simulated else "")
    problems = (*found.noticed, *more)
    grid = found.grid
    return SeriesRow(1, path.name, format_, "CT", description, 1, grid.shape, grid.spacing, grid.orientation, problems)


def row_of_acquisition(path: Path, format_: str, found: Acquisition) -> SeriesRow:
    """One row for whole detectors along a circle or a helix."""
    settings, (views, rows, columns) = found.settings, found.data.shape
    degrees = np.rad2deg(found.tensors["angles"].numpy())
    parts = [
        f"{settings['geometry']}: {views} views {degrees.min():.5g} to {degrees.max():.5g} deg",
        f"{rows} rows of {settings['row_pitch_mm']:.4g} mm x {columns} columns of {settings['column_pitch_mm']:.4g} mm",
        f"source to axis {settings['source_to_centre_mm']:g} mm, to detector {settings['source_to_detector_mm']:g} mm",
    ]
    if "heights_mm" in found.tensors:
        heights = found.tensors["heights_mm"]
        parts.append(f"heights {float(heights.min()):.4g} to {float(heights.max()):.4g} mm")
    else:
        parts.append(f"weights {settings['weights']}")
    parts.append(f"{settings['photons']:.3g} photons per bin")
    parts.append(f"line integrals to {float(found.data.max()):.3g}")
    parts.append(f"needs the physics {found.physics}")
    description = ", ".join(parts) + (" SIMULATED" if found.simulated else "")
    grid, problems = found.grid, found.history.problems
    return SeriesRow(1, path.name, format_, "CT", description, 1, grid.shape, grid.spacing, grid.orientation, problems)


def row_of_refusal(path: Path, format_: str, refusal: InputRefused) -> SeriesRow:
    """A row for what reading would refuse."""
    problem = Problem(refusal.code, "error", refusal.what, refusal.fix)
    return SeriesRow(1, path.name, format_, "CT", "", 1, None, None, None, (problem,))
