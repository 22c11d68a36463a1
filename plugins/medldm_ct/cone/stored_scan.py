"""Cone-beam geometry as an acquisition keeps it: written by the simulation, read by the operator."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
import torch

from medldm.data import Acquisition, Grid
from medldm.errors import InputRefused
from medldm_ct.cone.geometry import ConeBeam, Detector, VoxelBox
from medldm_ct.cone.orbit import Orbit
from medldm_ct.cone.projector import AXES
from medldm_ct.redundancy import Redundancy
from medldm_ct.simulated import StatedScan
from medldm_ct.stored_scan import in_radians, number, rounded, turned_against, word

GeometryName = Literal["cone-flat", "cone-curved"]
_VECTORS = ("source_mm", "detector_mm", "columns_along", "rows_along")


def voxel_box(grid: Grid, of: Grid) -> VoxelBox:
    """The voxels of ``grid`` in the frame of a scan, whose origin is the middle of the grid ``of``.

    Raises:
        InputRefused: ``E-CT-15`` for sheared voxels, ``E-CT-20`` for a grid that is turned against the scan's.
    """
    if grid.shear_degrees > 0.05:
        raise InputRefused(
            "E-CT-15",
            "The axes of the image are not at right angles.",
            why="The voxels of a volume must be boxes.",
            fix="Resample the volume to a regular grid.",
        )
    if turned_against(grid, of):
        raise InputRefused(
            "E-CT-20",
            "The image grid is turned against that of the measurement.",
            why="Its slices must lie across the axis of rotation as those of the scan do.",
            fix="Reconstruct on a grid with the directions of the acquisition's grid; it may be shifted and cropped.",
        )
    middle = grid.world((np.asarray(grid.shape) - 1) / 2) - of.world((np.asarray(of.shape) - 1) / 2)
    z, y, x = (rounded(float(c), voxel) for c, voxel in zip(of.directions.T @ middle, grid.spacing, strict=True))
    dz, dy, dx = (rounded(size, size) for size in grid.spacing)
    return VoxelBox((grid.shape[0], grid.shape[1], grid.shape[2]), (dz, dy, dx), (x, y, z))


def stated_scan(orbit: Orbit, redundancy: Redundancy | None) -> StatedScan:
    """Angles in radians and on a helix the heights of the source in mm, the rest as plain numbers and words."""
    d = orbit.detector
    settings: dict[str, Any] = {
        "geometry": "cone-curved" if d.curved else "cone-flat",
        "column_pitch_mm": d.column_pitch,
        "row_pitch_mm": d.row_pitch,
        "column_offset_mm": orbit.column_offset,
        "row_offset_mm": orbit.row_offset,
        "source_to_centre_mm": orbit.source_to_centre,
        "source_to_detector_mm": orbit.source_to_detector,
        "angle_unit": "rad",
    }
    if redundancy is not None:
        settings |= {"arc_deg": math.degrees(redundancy.arc), "weights": redundancy.kind}
    tensors = {"angles": torch.tensor(orbit.angles, dtype=torch.float64)}
    if orbit.helical:
        tensors["heights_mm"] = torch.tensor(orbit.heights, dtype=torch.float64)
    return StatedScan(AXES, tensors, settings)


def orbit_of(acquisition: Acquisition) -> Orbit | None:
    """The circle or helix of a measurement; None where it states the vectors of each view and no angles.

    Raises:
        InputRefused: ``E-CT-16`` for other axes, or numbers of angles or heights that differ from that of the views;
            ``E-CT-17`` for angles without a unit; ``E-CT-18`` for a length that is missing or no number; ``E-ACQ-04``
            without angles; and the errors of :class:`Orbit`.
    """
    detector = _detector(acquisition)
    if "source_mm" in acquisition.tensors and "angles" not in acquisition.tensors:
        return None
    settings, angles = acquisition.settings, acquisition.tensor("angles").double().cpu()
    heights = acquisition.tensors.get("heights_mm", torch.zeros_like(angles)).double().cpu()
    for name, values in (("angles", angles), ("heights_mm", heights)):
        if tuple(values.shape) != (acquisition.size("view"),):
            raise InputRefused(
                "E-CT-16",
                f"There are {acquisition.size('view')} views but {name} of shape {tuple(values.shape)}.",
                why="Every view needs its own.",
                fix="Store one number per view.",
            )
    angles = in_radians(angles, settings)
    return Orbit(
        detector,
        tuple(angles.tolist()),
        number(settings, "source_to_centre_mm"),
        number(settings, "source_to_detector_mm"),
        tuple(heights.tolist()),
        number(settings, "column_offset_mm", 0.0),
        number(settings, "row_offset_mm", 0.0),
    )


def beam_of(acquisition: Acquisition, orbit: Orbit | None) -> ConeBeam:
    """Any trajectory: four tensors ``(view, 3)``, positions in mm and unit vectors; that of the orbit without them.

    Where both are stated, as for a focal spot that flies around its orbit, the vectors are what was measured along.

    Raises:
        InputRefused: ``E-ACQ-04`` when one is missing, ``E-CT-22`` when they cannot be used, ``E-CT-16`` when there is
            not one for each view.
    """
    if orbit is not None and "source_mm" not in acquisition.tensors:
        return orbit.beam()
    detector = _detector(acquisition)
    beam = ConeBeam(detector, *(acquisition.tensor(name) for name in _VECTORS))
    if beam.views != acquisition.size("view"):
        raise InputRefused(
            "E-CT-16",
            f"There are {acquisition.size('view')} views but vectors for {beam.views}.",
            why="Every view needs its own.",
            fix="Store one vector per view.",
        )
    return beam


def _detector(acquisition: Acquisition) -> Detector:
    settings = acquisition.settings
    if acquisition.axes != AXES:
        raise InputRefused(
            "E-CT-16",
            f"The axes of the measurement are {acquisition.axes}, expected are {AXES}.",
            why="Cone-beam projections are views of rows of columns.",
            fix="Permute and name the axes.",
        )
    why = "Rays cannot be placed without knowing whether the detector is flat."
    kind = word(settings, "geometry", get_args(GeometryName), why=why)
    return Detector(
        acquisition.size("row"),
        acquisition.size("column"),
        number(settings, "row_pitch_mm"),
        number(settings, "column_pitch_mm"),
        kind == "cone-curved",
    )
