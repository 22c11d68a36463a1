"""Cone-beam and helical computed tomography: what recipes choose, and the way from an image to line integrals."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from medldm.data import Acquisition, Grid, Volume
from medldm.data.intensity import MU_WATER_PER_MM
from medldm.errors import UsageError
from medldm.inference import HasFilteredAdjoint, Noise
from medldm.operators import LinearOperator
from medldm_ct import footprint
from medldm_ct.attenuation import attenuation_of
from medldm_ct.cone.fdk import FeldkampOperator
from medldm_ct.cone.finer import finer_projections, projection_bytes
from medldm_ct.cone.geometry import Detector, VoxelBox
from medldm_ct.cone.helix import check_pitch
from medldm_ct.cone.orbit import Orbit, circular, helical
from medldm_ct.cone.projector import ConeTransform
from medldm_ct.cone.scan_checks import check_views, object_is_truncated
from medldm_ct.cone.stored_scan import beam_of, orbit_of, stated_scan, voxel_box
from medldm_ct.data_model import LineIntegralLikelihood
from medldm_ct.photons import DetectorNoise
from medldm_ct.redundancy import Redundancy, RedundancyName, detector_half
from medldm_ct.simulated import simulated
from medldm_ct.stored_scan import redundancy_of
from medldm_ct.withheld_views import withheld_views

_FDK = "L. A. Feldkamp, L. C. Davis, J. W. Kress. Practical cone-beam algorithm. JOSA A 1(6), 612-619, 1984."
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Offset = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=100_000)]


@dataclass(frozen=True)
class ConeTomography(ABC):
    """What both orbits share: a point source and a detector of rows and columns around a volume.

    A measurement holds line integrals ``(view, row, column)`` as its data, and beside them the photon counts that they
    are the logarithm of, so that one acquisition serves every likelihood. The axis of rotation passes through the
    middle of the acquisition's grid, along its slices. A measured scan may state any trajectory instead, see the
    README.

    Attributes:
        start_deg: angle of the first view in degrees.
        rows: number of detector rows; None takes as many as see the whole image.
        columns: number of detector columns; None takes as many as see the whole image, under displaced weights with
            the detector's long end.
        row_pitch_mm: distance of the rows in mm at the detector; None takes the size of a voxel seen at the axis.
        column_pitch_mm: distance of the columns, alike.
        column_offset_mm: position of the detector's middle along its columns in mm.
        row_offset_mm: position of the detector's middle along the axis in mm, seen from the source.
        source_to_centre_mm: distance of the source from the axis of rotation.
        source_to_detector_mm: distance of the source from the detector.
        detector: ``flat`` or ``curved``, a cylinder around the source (equiangular).
        oversample: the simulation projects from a grid so many times finer; 1 commits the inverse crime.
        noise: of the simulated measurement.
        mu_water_per_mm: attenuation of water, between HU and 1/mm.
        likelihood: noise model of the reconstruction.
    """

    references: ClassVar[tuple[str, ...]] = (footprint.PAPER, _FDK)
    name: ClassVar[str]

    start_deg: Offset = 0.0
    rows: Count | None = None
    columns: Count | None = None
    row_pitch_mm: Length | None = None
    column_pitch_mm: Length | None = None
    column_offset_mm: Offset = 0.0
    row_offset_mm: Offset = 0.0
    source_to_centre_mm: Length = 595.0
    source_to_detector_mm: Length = 1086.0
    detector: Literal["flat", "curved"] = "flat"
    oversample: Annotated[int, Field(ge=1, le=8)] = 2
    noise: DetectorNoise = field(default_factory=DetectorNoise)
    mu_water_per_mm: Length = MU_WATER_PER_MM
    likelihood: LineIntegralLikelihood = field(default_factory=LineIntegralLikelihood)

    @abstractmethod
    def orbit(self, box: VoxelBox) -> Orbit:
        """The scan of an image by these options."""

    @abstractmethod
    def redundancy(self) -> Redundancy | None:
        """How often the scan measures each line; None on a helix."""

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Scan an image in HU or 1/mm: a finer grid, photons, the logarithm.

        Raises:
            InputRefused: ``E-CT-21`` for an image in another unit, ``E-CT-15`` for sheared voxels, ``E-CT-04`` when
                the image reaches the source, ``E-CT-24`` for a helix with gaps, ``E-PIX-01`` for voxels that are not
                finite.
            UsageError: the errors of :meth:`redundancy` and of :class:`Redundancy`.
        """
        attenuation = attenuation_of(volume, self.mu_water_per_mm)
        box, redundancy = voxel_box(volume.grid, volume.grid), self.redundancy()
        orbit = self.orbit(box)
        beam = orbit.beam()
        beam.check(box)
        if redundancy is None:
            check_pitch(orbit, box)
        else:
            redundancy.weights(orbit.fan)
        projections = finer_projections(attenuation, beam, box, self.oversample)
        return simulated(self, volume, projections, stated_scan(orbit, redundancy), noise)

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """The cone-beam transform of a measurement, in the geometry that it states.

        A detector that truncates the object and views that repeat an angle are warned of.

        Raises:
            InputRefused: see :mod:`medldm_ct.cone.stored_scan` and :func:`medldm_ct.cone.scan_checks.check_views`.
        """
        orbit, box = orbit_of(acquisition), voxel_box(grid, acquisition.grid)
        beam = beam_of(acquisition, orbit)
        if orbit is None:
            return ConeTransform(beam, box)
        redundancy = None if orbit.helical else redundancy_of(acquisition)
        check_views(orbit)
        truncated = object_is_truncated(acquisition.data, orbit, redundancy)
        filtered = None
        if redundancy is not None or orbit.helical:
            filtered = partial(FeldkampOperator, orbit, box, redundancy, truncated=truncated)
        return ConeTransform(beam, box, filtered=filtered)

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """Filtered back-projection with the Hann window, ``(z, y, x)`` in 1/mm."""
        if not isinstance(operator, HasFilteredAdjoint):
            operator = self.operator(acquisition, acquisition.grid).to(acquisition.data.device)
        assert isinstance(operator, HasFilteredAdjoint)
        return operator.filtered_adjoint("hann")(acquisition.data)

    def withheld(self, acquisition: Acquisition, noise: Noise) -> Tensor:
        """Views to try a reconstruction on, see :mod:`medldm_ct.withheld_views`."""
        return withheld_views(acquisition.size("view"), noise).view(-1, 1, 1)

    def measurement_bytes(self, grid: Grid) -> int:
        """Bytes of the line integrals, float32."""
        return 4 * math.prod(self.orbit(voxel_box(grid, grid)).beam().shape)

    def bytes_needed(self, grid: Grid, measurement: Acquisition | None = None) -> int:
        """Peak bytes of measurement and operator."""
        box = voxel_box(grid, grid)
        projections = self.measurement_bytes(grid) if measurement is None else 4 * measurement.data.numel()
        # Both directions hold the volume once more, and some views' running sums.
        working = 4 * 2 * box.size + 2**27
        return working + 4 * projections

    def simulation_bytes(self, grid: Grid) -> int:
        """Peak bytes of the projections of the finer volume."""
        box, measurement = voxel_box(grid, grid), self.measurement_bytes(grid)
        return 3 * measurement + projection_bytes(measurement // 4, box, self.oversample)

    def _detector(self, box: VoxelBox, *, displaced: bool = False) -> Detector:
        """The detector of the options; what is left open sees the whole image in pixels of its size at the axis.

        Under displaced weights its long end does.
        """
        near, far = self.source_to_centre_mm, self.source_to_detector_mm
        row = self.row_pitch_mm or box.spacing[0] * far / near
        column = self.column_pitch_mm or min(box.spacing[1:]) * far / near
        sketch = circular(Detector(1, 1, row, column, self.detector == "curved"), (0.0,), near, far)
        half_fan = math.asin(min(0.999, box.radius / near))
        needed = far * (half_fan if sketch.detector.curved else math.tan(half_fan))
        width = detector_half(needed, self.column_offset_mm, displaced=displaced)
        height = far * box.extent[2] / 2 / max(near - box.radius, 1e-3 * near)
        return Detector(
            self.rows or max(1, math.ceil(2 * (height + abs(self.row_offset_mm)) / row - 1e-9)),
            self.columns or max(1, math.ceil(2 * width / column - 1e-9)),
            row,
            column,
            sketch.detector.curved,
        )


@dataclass(frozen=True)
class ConeBeamCt(ConeTomography):
    """Cone-beam CT on a circle in the plane of the middle slice, see :class:`ConeTomography`.

    Attributes:
        views: number of views, equispaced over the arc.
        arc_deg: angle that the views cover, in degrees; the last view stands one step before its end.
        weights: how often each line is measured, see the README; ``by-arc`` takes full-turn where the stated arc leaves
            no choice, and refuses otherwise.
    """

    name: ClassVar[str] = "ct-cone"

    views: Count = 360
    arc_deg: Annotated[float, Field(gt=0, le=360)] = 360.0
    weights: Literal["by-arc"] | RedundancyName = "by-arc"

    def orbit(self, box: VoxelBox) -> Orbit:
        step = math.radians(self.arc_deg) / self.views
        angles = tuple(math.radians(self.start_deg) + i * step for i in range(self.views))
        detector = self._detector(box, displaced=self.weights == "displaced")
        return circular(
            detector, angles, self.source_to_centre_mm, self.source_to_detector_mm,
            column_offset=self.column_offset_mm, row_offset=self.row_offset_mm,
        )  # fmt: skip

    def redundancy(self) -> Redundancy:
        """The weights of the options.

        Raises:
            UsageError: ``E-CT-08`` when they do not fit the arc, or when the arc leaves a choice.
        """
        if self.weights != "by-arc":
            return Redundancy.named(self.weights, math.radians(self.arc_deg))
        if self.arc_deg == 360 and self.column_offset_mm == 0:
            return Redundancy.named("full-turn", math.radians(self.arc_deg))
        raise UsageError(
            "E-CT-08",
            f"An arc of {self.arc_deg:g} degrees with the detector {self.column_offset_mm:g} mm off centre can be "
            f"weighted in more than one way by {self.name}.",
            why="How often each line is measured is never guessed.",
            fix="Name acquisition.weights: full-turn, short-scan, displaced or limited.",
        )


@dataclass(frozen=True)
class HelicalCt(ConeTomography):
    """Helical CT, see :class:`ConeTomography`. The helix begins before and ends behind the volume.

    Attributes:
        views_per_turn: number of views, equispaced.
        pitch: travel of the table in one turn over the height of the detector seen at the axis.
    """

    name: ClassVar[str] = "ct-helical"

    rows: Count | None = 32
    detector: Literal["flat", "curved"] = "curved"
    views_per_turn: Count = 360
    pitch: Annotated[float, Field(gt=0, le=3)] = 0.8

    def orbit(self, box: VoxelBox) -> Orbit:
        detector = self._detector(box)
        height = detector.rows * detector.row_pitch * self.source_to_centre_mm / self.source_to_detector_mm
        feed = self.pitch * height
        # As far beyond either end as the cone reaches, so that the first and the last slice are seen like the others.
        travel = box.extent[2] + height * (1 + box.radius / self.source_to_centre_mm)
        views = math.ceil(travel / feed * self.views_per_turn) + 1
        first = math.radians(self.start_deg)
        angles = tuple(first + 2 * math.pi * i / self.views_per_turn for i in range(views))
        return helical(
            detector, angles, self.source_to_centre_mm, self.source_to_detector_mm,
            feed=feed, start=-feed * (views - 1) / self.views_per_turn / 2,
            column_offset=self.column_offset_mm, row_offset=self.row_offset_mm,
        )  # fmt: skip

    def redundancy(self) -> None:
        """A voxel is seen for as many turns as the feed allows; nothing is to be named."""
