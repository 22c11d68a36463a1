"""Scan geometry as an acquisition keeps it: written by the simulation, read by the operator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medldm.data import Acquisition, Grid
from medldm.errors import InputRefused
from medldm_ct.geometry import FanBeam, Geometry, ImagePlane, ParallelBeam
from medldm_ct.redundancy import Redundancy, RedundancyName
from medldm_ct.simulated import StatedScan

AXES = ("z", "view", "bin")
# Slices and centres of two grids are the same within this share of a voxel.
_APART = 0.01
GeometryName = Literal["parallel", "fan-flat", "fan-curved"]


def image_plane(grid: Grid) -> ImagePlane:
    """The pixels of one slice of a grid; refused where its rows and columns are not at right angles."""
    directions = grid.directions
    if abs(float(directions[:, 1] @ directions[:, 2])) > 1e-3:
        raise InputRefused(
            "E-CT-15",
            "The rows and columns of the image are not at right angles.",
            why="The pixels of a slice must be rectangles.",
            fix="Resample the volume to a regular grid.",
        )
    _, dy, dx = grid.spacing
    return ImagePlane((grid.shape[1], grid.shape[2]), (rounded(dy, dy), rounded(dx, dx)))


def rounded(mm: float, voxel: float) -> float:
    """To six decimals of a mm, more where voxels are smaller than a tenth.

    Headers that differ in the last digits share one matrix.
    """
    return round(mm, 6 + max(0, -math.ceil(math.log10(voxel))))


def stated_scan(geometry: Geometry, redundancy: Redundancy) -> StatedScan:
    """The angles in radians, the rest as plain numbers and words with their units."""
    settings: dict[str, Any] = {
        "geometry": "parallel",
        "pitch_mm": geometry.pitch,
        "offset_mm": geometry.offset,
        "angle_unit": "rad",
        "arc_deg": math.degrees(redundancy.arc),
        "weights": redundancy.kind,
    }
    if isinstance(geometry, FanBeam):
        settings["geometry"] = "fan-curved" if geometry.curved else "fan-flat"
        settings["source_to_centre_mm"] = geometry.source_to_centre
        settings["source_to_detector_mm"] = geometry.source_to_detector
    return StatedScan(AXES, {"angles": torch.tensor(geometry.angles, dtype=torch.float64)}, settings)


def scan_of(acquisition: Acquisition) -> Geometry:
    """The geometry of a measurement ``(z, view, bin)``.

    Raises:
        InputRefused: ``E-CT-16`` for other axes, or a number of angles that differs from that of the views;
            ``E-CT-17`` for angles without a unit; ``E-CT-18`` for a length that is missing or no number, and for a
            geometry that is not known, or not stated and not that of ``ct-parallel``; ``E-ACQ-04`` without
            angles; ``E-CT-01`` to ``E-CT-03`` for a geometry that cannot be.
    """
    if acquisition.axes != AXES:
        raise InputRefused(
            "E-CT-16",
            f"The axes of the measurement are {acquisition.axes}, expected are {AXES}.",
            why="Projections are slices of views of bins.",
            fix="Permute and name the axes.",
        )
    angles = acquisition.tensor("angles")
    if tuple(angles.shape) != (acquisition.size("view"),):
        raise InputRefused(
            "E-CT-16",
            f"There are {acquisition.size('view')} views but angles of shape {tuple(angles.shape)}.",
            why="Every view needs its angle.",
            fix="Store one angle per view.",
        )
    settings = acquisition.settings
    radians = in_radians(angles.double().cpu(), settings)
    views, bins = tuple(radians.tolist()), acquisition.size("bin")
    pitch, offset = number(settings, "pitch_mm"), number(settings, "offset_mm", 0.0)
    kind = "parallel"
    if "geometry" in settings or acquisition.physics != "ct-parallel":
        kind = word(settings, "geometry", get_args(GeometryName), why="Rays cannot be placed without knowing the beam.")
    if kind == "parallel":
        return ParallelBeam(views, bins, pitch, offset)
    return FanBeam(
        views,
        bins,
        pitch,
        offset,
        number(settings, "source_to_centre_mm"),
        number(settings, "source_to_detector_mm"),
        curved=kind == "fan-curved",
    )


def redundancy_of(acquisition: Acquisition) -> Redundancy | None:
    """The weights named with a measurement; None where it names none.

    Raises:
        InputRefused: ``E-CT-18`` for weights that are not known, or without their arc.
        UsageError: ``E-CT-08`` when they do not fit it.
    """
    settings = acquisition.settings
    if settings.get("weights") is None:
        return None
    why = "How often each line was measured is never guessed."
    kind = cast(RedundancyName, word(settings, "weights", get_args(RedundancyName), why=why))
    return Redundancy.named(kind, math.radians(number(settings, "arc_deg")))


def check_grid(acquisition: Acquisition, grid: Grid) -> None:
    """Refuse an image grid whose slices or axis of rotation are not those of the measurement.

    Raises:
        InputRefused: ``E-CT-20``.
    """
    scan, slices, fault = acquisition.grid, acquisition.size("z"), ""
    if grid.shape[0] != slices:
        fault = f"has {grid.shape[0]} slices, the measurement {slices}"
    elif turned_against(grid, scan):
        fault = "is turned or mirrored against that of the measurement"
    else:
        apart = np.abs((_end_slices(grid) - _end_slices(scan)) @ grid.directions).max(0)
        if (apart > _APART * np.asarray(grid.spacing)).any():
            z, y, x = apart
            fault = f"is not where the measurement was made: slices are up to {z:.3g} mm apart, centres {y:.3g} mm "
            fault += f"along the columns and {x:.3g} mm along the rows"
    if fault:
        raise InputRefused(
            "E-CT-20",
            f"The image grid {fault}.",
            why="The axis of rotation must pass through the centre of the image, and every slice be measured.",
            fix="Reconstruct on a grid with the slices, the directions and the centre of the acquisition's grid.",
        )


def turned_against(grid: Grid, other: Grid) -> bool:
    """Whether the axes of two grids have different directions, a mirrored one the opposite."""
    return float(np.abs(grid.directions - other.directions).max()) > 1e-3


def _end_slices(grid: Grid) -> NDArray[np.float64]:
    """Centres of the first and of the last slice in mm, ``(2, 3)``."""
    middle = (np.asarray(grid.shape) - 1) / 2
    return np.stack([grid.world((z, middle[1], middle[2])) for z in (0, grid.shape[0] - 1)])


def in_radians(angles: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Angles in the unit that a measurement states.

    Raises:
        InputRefused: ``E-CT-17`` where it states none.
    """
    unit = settings.get("angle_unit")
    if unit not in ("rad", "deg"):
        raise InputRefused(
            "E-CT-17",
            f"The angles of the views have no known unit: angle_unit is {unit!r}.",
            why="Radians and degrees cannot be told apart by looking at them.",
            fix="State settings['angle_unit']: rad or deg.",
        )
    return torch.deg2rad(angles) if unit == "deg" else angles


def number(settings: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """A length or an angle that a measurement states, in the unit that its name ends in.

    Raises:
        InputRefused: ``E-CT-18`` where it is missing or no number.
    """
    value = settings.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputRefused(
            "E-CT-18",
            f"The measurement states {name} as {value!r}.",
            why="Without this number it is not known where rays run, or over what arc.",
            fix=f"Store settings[{name!r}] in {'degrees' if name.endswith('_deg') else 'mm'}.",
        )
    return float(value)


def word(settings: Mapping[str, Any], name: str, words: Sequence[str], *, why: str) -> str:
    """A word that a measurement states, one of those known.

    Raises:
        InputRefused: ``E-CT-18`` for any other, and where it is missing.
    """
    value = settings.get(name)
    if value not in words:
        raise InputRefused(
            "E-CT-18",
            f"The measurement states its {name} as {value!r}.",
            why=why,
            fix=f"Store settings[{name!r}]: {', '.join(words[:-1])} or {words[-1]}.",
        )
    return str(value)
