"""Cone-beam CT with the projectors of RTK (Rit et al. 2014, doi 10.1088/1742-6596/489/1/012079)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.data import Acquisition, Grid, Volume
from medldm.data.intensity import MU_WATER_PER_MM, attenuation_from
from medldm.errors import InputRefused
from medldm.inference import Likelihood, Noise
from medldm.inference.weighted_gaussian import WeightedGaussian
from medldm.operators import LinearOperator
from medldm_rtk.projector import ConeScan, JosephProjector

_RTK = (
    "S. Rit, M. Vila Oliva, S. Brousmiche, R. Labarbe, D. Sarrut, G. C. Sharp. The Reconstruction Toolkit (RTK), an "
    "open-source cone-beam CT reconstruction toolkit based on the Insight Toolkit (ITK). Journal of Physics: "
    "Conference Series 489, 012079, 2014."
)
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_AXES = ("view", "row", "bin")
_FULL_TURN = 1e-6


@dataclass(frozen=True)
class RtkConeBeam:
    """A circular cone-beam scan with a flat detector, of the whole volume at once.

    Attributes:
        views, arc_deg, start_deg: equispaced over the arc in degrees.
        rows, bins: of the detector; None takes as many as see the whole volume.
        pitch_mm, row_pitch_mm: on the detector; None takes a voxel seen at the axis.
        offset_mm, row_offset_mm: position of the detector's middle.
        source_to_centre_mm, source_to_detector_mm: distances of the source.
        oversample: the simulation projects from voxels so many times finer; 1 commits the inverse crime.
        photons: per bin without an object, of the simulated counts.
        mu_water_per_mm: attenuation of water, between HU and 1/mm.
    """

    references: ClassVar[tuple[str, ...]] = (_RTK,)

    views: Annotated[int, Field(ge=1, le=100_000)] = 180
    arc_deg: Annotated[float, Field(gt=0, le=360)] = 360.0
    start_deg: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    rows: Annotated[int, Field(ge=1, le=10_000)] | None = None
    bins: Annotated[int, Field(ge=1, le=10_000)] | None = None
    pitch_mm: Length | None = None
    row_pitch_mm: Length | None = None
    offset_mm: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    row_offset_mm: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    source_to_centre_mm: Length = 1000.0
    source_to_detector_mm: Length = 1536.0
    oversample: Annotated[int, Field(ge=1, le=4)] = 2
    photons: Length = 1.0e5
    mu_water_per_mm: Length = MU_WATER_PER_MM

    def scan(self, grid: Grid) -> ConeScan:
        """The scan of a volume by these options.

        Raises:
            InputRefused: E-RTK-01 where the volume reaches the source.
        """
        dz, dy, dx = grid.spacing
        radius = math.hypot(grid.shape[1] * dy, grid.shape[2] * dx) / 2
        to_centre, to_detector = self.source_to_centre_mm, self.source_to_detector_mm
        if not radius < to_centre <= to_detector:
            raise InputRefused(
                "E-RTK-01",
                f"The volume reaches {radius:.1f} mm from the axis, the source stands {to_centre:g} mm from it and "
                f"{to_detector:g} mm from the detector.",
                why="The source would pass through the volume, or the detector would.",
                fix="Check the voxel size, and give the scanner's distances in mm.",
            )
        scale = to_detector / to_centre
        pitch, row_pitch = self.pitch_mm or min(dy, dx) * scale, self.row_pitch_mm or dz * scale
        wide = to_detector * math.tan(math.asin(radius / to_centre)) - abs(self.offset_mm)
        high = grid.shape[0] * dz / 2 * to_detector / (to_centre - radius) - abs(self.row_offset_mm)
        step = math.radians(self.arc_deg) / self.views
        return ConeScan(
            tuple(math.radians(self.start_deg) + i * step for i in range(self.views)),
            self.rows or max(1, math.ceil(2 * high / row_pitch)),
            self.bins or max(1, math.ceil(2 * wide / pitch)),
            row_pitch,
            pitch,
            to_centre,
            to_detector,
            self.offset_mm,
            self.row_offset_mm,
        )

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Scan a volume in HU or 1/mm from finer voxels, count photons, take the logarithm.

        Raises:
            InputRefused: E-RTK-02 for another unit, E-RTK-01, E-PIX-01 for voxels that are not finite.
        """
        if volume.quantity == "arbitrary" or volume.data.is_complex():
            raise InputRefused(
                "E-RTK-02",
                "The image is neither in HU nor in 1/mm, or it is complex.",
                why="The attenuation of its voxels is not known.",
                fix="Give a CT image, or state its modality when it is read.",
            )
        to_attenuation = attenuation_from(volume.quantity, self.mu_water_per_mm)
        attenuation = to_attenuation(volume.require_finite().data.cpu()).clamp(min=0)
        scan, n = self.scan(volume.grid), self.oversample
        finer = torch.nn.functional.interpolate(attenuation[None, None], scale_factor=n, mode="trilinear")[0, 0]
        dz, dy, dx = (step / n for step in volume.grid.spacing)
        exact = JosephProjector(scan, (finer.shape[0], finer.shape[1], finer.shape[2]), (dz, dy, dx))(finer)
        counts = noise.poisson(self.photons * torch.exp(-exact), "photons")
        settings: dict[str, Any] = {
            "geometry": "cone-flat",
            "pitch_mm": scan.pitch,
            "row_pitch_mm": scan.row_pitch,
            "offset_mm": scan.offset,
            "row_offset_mm": scan.row_offset,
            "angle_unit": "rad",
            "arc_deg": self.arc_deg,
            "source_to_centre_mm": scan.source_to_centre,
            "source_to_detector_mm": scan.source_to_detector,
            "photons": self.photons,
            "mu_water_per_mm": self.mu_water_per_mm,
            "oversample": n,
        }
        return Acquisition(
            physics="ct-rtk",
            data=torch.log(self.photons / counts.clamp(min=1)),
            axes=_AXES,
            grid=volume.grid,
            quantity="1/mm",
            modality="CT",
            output=to_attenuation.inverse,
            tensors={"angles": torch.tensor(scan.angles, dtype=torch.float64), "counts": counts},
            settings=settings,
            simulated=True,
            name=volume.name,
            history=volume.history.then("simulate", physics="ct-rtk", views=self.views, **settings),
            source=volume.source,
        )

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """Joseph's projector in the geometry that the measurement states.

        Raises:
            InputRefused: E-RTK-03 for another geometry or missing lengths.
        """
        dz, dy, dx = grid.spacing
        return JosephProjector(_stated(acquisition), (grid.shape[0], grid.shape[1], grid.shape[2]), (dz, dy, dx))

    def likelihood(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        """Line integrals weighted by their photon counts.

        Raises:
            InputRefused: E-RTK-03 without the photons per bin.
        """
        photons = _length(acquisition.settings, "photons")
        counts = acquisition.tensors.get("counts")
        counts = photons * torch.exp(-acquisition.data) if counts is None else counts
        return WeightedGaussian(operator, acquisition.data, counts.clamp(min=1.0))

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """FDK where the scan is a full turn with a centred detector; else ``A^H y``, scaled to explain what it can."""
        arc = float(acquisition.settings.get("arc_deg", 0.0))
        scan = _stated(acquisition)
        if abs(arc - 360) < _FULL_TURN and scan.offset == 0 and isinstance(operator, JosephProjector):
            return operator.fdk(acquisition.data)
        back = operator.H(acquisition.data)
        seen = operator(back)
        energy = float(seen.square().sum())
        return float((seen * acquisition.data).sum()) / energy * back if energy > 0 else back

    def measurement_bytes(self, grid: Grid) -> int:
        """Bytes of the projections, float32."""
        scan = self.scan(grid)
        return 4 * len(scan.angles) * scan.rows * scan.bins

    def bytes_needed(self, grid: Grid, measurement: Acquisition | None = None) -> int:
        """Bytes while the finer volume is projected: RTK copies what it is given and what it gives."""
        finer = 4 * math.prod(grid.shape) * self.oversample**3
        projections = self.measurement_bytes(grid) if measurement is None else 4 * measurement.data.numel()
        return 3 * finer + 4 * projections


def _stated(acquisition: Acquisition) -> ConeScan:
    settings = acquisition.settings
    angles = acquisition.tensor("angles").double().cpu()
    known = settings.get("geometry") == "cone-flat" and settings.get("angle_unit") == "rad"
    if acquisition.axes != _AXES or not known or tuple(angles.shape) != (acquisition.size("view"),):
        raise InputRefused(
            "E-RTK-03",
            f"RTK's projectors here take {_AXES} of geometry 'cone-flat' with angles in 'rad', the measurement is "
            f"{acquisition.axes} of {settings.get('geometry')!r}.",
            fix="Use the physics of the measurement.",
        )
    lengths = ("row_pitch_mm", "pitch_mm", "source_to_centre_mm", "source_to_detector_mm")
    row_pitch, pitch, to_centre, to_detector = (_length(settings, name) for name in lengths)
    offset, row_offset = (float(settings.get(name, 0.0)) for name in ("offset_mm", "row_offset_mm"))
    sizes = acquisition.size("row"), acquisition.size("bin")
    return ConeScan(tuple(angles.tolist()), *sizes, row_pitch, pitch, to_centre, to_detector, offset, row_offset)


def _length(settings: Mapping[str, Any], name: str) -> float:
    value = settings.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise InputRefused(
            "E-RTK-03",
            f"The measurement states {name} as {value!r}.",
            why="Rays cannot be placed in the volume, or weighed, without it.",
            fix=f"Store settings[{name!r}], above zero.",
        )
    return float(value)
