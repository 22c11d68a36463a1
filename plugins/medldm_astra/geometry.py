"""The scan of one slice in the words of medldm, and in those of ASTRA.

medldm counts rows downwards and ASTRA's y upwards, so y changes its sign; angles, offsets and distances are those of
``medldm_ct``: ``x cos(theta) + y sin(theta) = s``, sources at ``R (sin(beta), -cos(beta))``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import astra
import numpy as np
from scipy.sparse import csr_matrix

from medldm.data import Acquisition, Grid
from medldm.errors import InputRefused, UsageError

Projector = Literal["auto", "linear", "strip", "line"]
_PARALLEL = ("linear", "strip", "line")


@dataclass(frozen=True)
class AstraScan:
    """Angles in radians, lengths in mm.

    Attributes:
        source: distances from the source to the axis and to the detector; None for parallel rays.
    """

    angles: tuple[float, ...]
    bins: int
    pitch: float
    offset: float = 0.0
    source: tuple[float, float] | None = None

    def geometry(self) -> dict[str, Any]:
        """ASTRA's description, a vector per view."""
        angles = np.array(self.angles)
        along = np.stack((np.cos(angles), -np.sin(angles)), axis=1)
        across = np.stack((np.sin(angles), np.cos(angles)), axis=1)
        if self.source is None:
            vectors = np.concatenate((across, self.offset * along, self.pitch * along), axis=1)
            return dict(astra.create_proj_geom("parallel_vec", self.bins, vectors))
        to_centre, to_detector = self.source
        source = to_centre * across
        middle = source - to_detector * across + self.offset * along
        vectors = np.concatenate((source, middle, self.pitch * along), axis=1)
        return dict(astra.create_proj_geom("fanflat_vec", self.bins, vectors))

    def matrix(self, shape: tuple[int, int], pixel: float, projector: Projector) -> csr_matrix:
        """(ray, pixel) weights in mm of pixels of one slice, rows and columns of size ``pixel``.

        Raises:
            UsageError: E-AST-01 for a projector that ASTRA has not for these rays.
        """
        kind = ("linear" if self.source is None else "line") if projector == "auto" else projector
        if self.source is not None and kind != "line":
            raise UsageError(
                "E-AST-01",
                f"ASTRA has no projector {kind!r} for fans on the CPU.",
                fix="Use projector: line, or auto.",
            )
        height, width = shape[0] * pixel / 2, shape[1] * pixel / 2
        volume = astra.create_vol_geom(shape[0], shape[1], -width, width, -height, height)
        name = kind if self.source is None else "line_fanflat"
        projector_id = astra.create_projector(name, self.geometry(), volume)
        try:
            matrix_id = astra.projector.matrix(projector_id)
            try:
                return csr_matrix(astra.matrix.get(matrix_id))
            finally:
                astra.matrix.delete(matrix_id)
        finally:
            astra.projector.delete(projector_id)

    def settings(self) -> dict[str, Any]:
        """What an acquisition keeps of it besides the angles."""
        settings: dict[str, Any] = {
            "geometry": "parallel" if self.source is None else "fan-flat",
            "pitch_mm": self.pitch,
            "offset_mm": self.offset,
            "angle_unit": "rad",
        }
        if self.source is not None:
            settings["source_to_centre_mm"], settings["source_to_detector_mm"] = self.source
        return settings

    @classmethod
    def of(cls, acquisition: Acquisition) -> AstraScan:
        """The scan of a measurement ``(z, view, bin)``.

        Raises:
            InputRefused: E-AST-02 for another geometry or missing lengths, E-ACQ-04 without angles.
        """
        settings = acquisition.settings
        unspoken = None if acquisition.physics == "ct-fan" else "parallel"
        kind, unit = settings.get("geometry", unspoken), settings.get("angle_unit")
        angles = acquisition.tensor("angles").double().cpu().numpy()
        known = kind in ("parallel", "fan-flat") and unit in ("rad", "deg")
        if acquisition.axes != ("z", "view", "bin") or not known or angles.shape != (acquisition.size("view"),):
            raise InputRefused(
                "E-AST-02",
                f"ASTRA's projectors of slices cannot take a measurement {acquisition.axes} of geometry {kind!r} with "
                f"{angles.size} angles in {unit!r}.",
                why="On the CPU they know parallel rays and flat fans.",
                fix="Use the physics of the measurement, which knows curved detectors.",
            )
        source = None
        if kind == "fan-flat":
            source = (_length(settings, "source_to_centre_mm"), _length(settings, "source_to_detector_mm"))
        radians = np.deg2rad(angles) if unit == "deg" else angles
        offset = _length(settings, "offset_mm") if "offset_mm" in settings else 0.0
        return cls(tuple(radians.tolist()), acquisition.size("bin"), _length(settings, "pitch_mm"), offset, source)


def square_pixel(grid: Grid) -> float:
    """Size of a grid's pixels in mm.

    Raises:
        InputRefused: E-AST-03 where they are not square.
    """
    _, dy, dx = grid.spacing
    if not math.isclose(dy, dx, rel_tol=1e-4) or abs(float(grid.directions[:, 1] @ grid.directions[:, 2])) > 1e-3:
        raise InputRefused(
            "E-AST-03",
            f"The pixels of a slice are {dy:g} x {dx:g} mm, ASTRA takes square ones.",
            fix="Resample the slices, or use the physics ct-parallel or ct-fan.",
        )
    return dx


def _length(settings: Mapping[str, Any], name: str) -> float:
    value = settings.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputRefused(
            "E-AST-02",
            f"The measurement states {name} as {value!r}.",
            why="Rays cannot be placed in the image without this length.",
            fix=f"Store settings[{name!r}] in mm.",
        )
    return float(value)
