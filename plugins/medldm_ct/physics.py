"""Parallel and fan beam computed tomography: what recipes choose, and the way from an image to line integrals."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
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
from medldm_ct.data_model import LineIntegralLikelihood
from medldm_ct.extrapolation import rows_are_truncated
from medldm_ct.finer import finer_projections, projection_bytes
from medldm_ct.geometry import FanBeam, Geometry, ImagePlane, ParallelBeam
from medldm_ct.photons import DetectorNoise
from medldm_ct.projector import Storage, XRayTransform, operator_bytes
from medldm_ct.redundancy import Redundancy, RedundancyName, detector_half
from medldm_ct.simulated import simulated
from medldm_ct.stored_scan import check_grid, image_plane, redundancy_of, scan_of, stated_scan
from medldm_ct.withheld_views import withheld_views

_FBP = "A. C. Kak, M. Slaney. Principles of Computerized Tomographic Imaging. IEEE Press, 1988."
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class ComputedTomography(ABC):
    """What both beams share: a stack of slices, each scanned alike around its centre.

    A measurement holds line integrals ``(z, view, bin)`` as its data, and beside them the photon counts that they are
    the logarithm of, so that one acquisition serves every likelihood. Where there are no counts they are those that
    the line integrals imply.

    Attributes:
        views: number of views, equispaced over the arc.
        arc_deg: angle that the views cover, in degrees; the last view stands one step before its end.
        start_deg: angle of the first view in degrees.
        bins: number of detector bins; None takes as many as see the whole image, under displaced weights with the
            detector's long end.
        pitch_mm: distance of the bins along the detector in mm; None takes the size of a pixel seen at the axis.
        offset_mm: position of the detector's middle along the detector in mm.
        weights: how often each line is measured, see the README; ``by-arc`` takes half-turn, full-turn or limited
            where the stated arc leaves no choice, and refuses otherwise.
        oversample: the simulation projects from a grid so many times finer; 1 commits the inverse crime.
        noise: of the simulated measurement.
        mu_water_per_mm: attenuation of water, between HU and 1/mm.
        storage: of the system matrix: ``full``, ``symmetric`` or ``auto``.
        likelihood: noise model of the reconstruction.
    """

    references: ClassVar[tuple[str, ...]] = (footprint.PAPER, _FBP)
    name: ClassVar[str]

    views: Annotated[int, Field(ge=1, le=100_000)] = 180
    arc_deg: Annotated[float, Field(gt=0, le=360)] = 180.0
    start_deg: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    bins: Annotated[int, Field(ge=1, le=100_000)] | None = None
    pitch_mm: Length | None = None
    offset_mm: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    weights: Literal["by-arc"] | RedundancyName = "by-arc"
    oversample: Annotated[int, Field(ge=1, le=8)] = 2
    noise: DetectorNoise = field(default_factory=DetectorNoise)
    mu_water_per_mm: Length = MU_WATER_PER_MM
    storage: Storage = "auto"
    likelihood: LineIntegralLikelihood = field(default_factory=LineIntegralLikelihood)

    @abstractmethod
    def scan(self, plane: ImagePlane) -> Geometry:
        """The scan of an image by these options."""

    @abstractmethod
    def _by_arc(self) -> RedundancyName | None:
        """The weights that the arc alone implies; None where there is a choice."""

    def redundancy(self) -> Redundancy:
        """The weights of the options.

        Raises:
            UsageError: ``E-CT-08`` when they do not fit the arc, or when the arc leaves a choice.
        """
        kind = self._by_arc() if self.weights == "by-arc" else self.weights
        if kind is None:
            raise UsageError(
                "E-CT-08",
                f"An arc of {self.arc_deg:g} degrees with the detector {self.offset_mm:g} mm off centre can be "
                f"weighted in more than one way by {self.name}.",
                why="How often each line is measured is never guessed.",
                fix="Name acquisition.weights: full-turn, short-scan, displaced or limited.",
            )
        return Redundancy.named(kind, math.radians(self.arc_deg))

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Scan an image in HU or 1/mm: a finer grid, photons, the logarithm.

        Raises:
            InputRefused: ``E-CT-21`` for an image in another unit, ``E-CT-15`` for oblique pixels, ``E-CT-04`` when
                the image reaches the source, ``E-PIX-01`` for voxels that are not finite.
            UsageError: the errors of :meth:`redundancy` and of :class:`Redundancy`.
        """
        attenuation = attenuation_of(volume, self.mu_water_per_mm)
        plane, redundancy = image_plane(volume.grid), self.redundancy()
        geometry = self.scan(plane)
        geometry.check(plane)
        redundancy.weights(geometry)
        projections = finer_projections(attenuation, geometry, plane, self.oversample)
        return simulated(self, volume, projections, stated_scan(geometry, redundancy), noise)

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """The X-ray transform of a measurement, in the geometry that it states.

        A detector that truncates the object is warned of (``E-CT-25``).

        Raises:
            InputRefused: see :func:`medldm_ct.stored_scan.scan_of`; ``E-CT-20`` when the grid is not that of the scan.
        """
        geometry, plane = scan_of(acquisition), image_plane(grid)
        check_grid(acquisition, grid)
        weights = redundancy_of(acquisition)
        cut = rows_are_truncated(acquisition.data, geometry, weights)
        return XRayTransform(geometry, plane, grid.shape[0], redundancy=weights, storage=self.storage, truncated=cut)

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """Filtered back-projection with the Hann window, ``(z, y, x)`` in 1/mm."""
        if not isinstance(operator, HasFilteredAdjoint):
            operator = self.operator(acquisition, acquisition.grid).to(acquisition.data.device)
        assert isinstance(operator, HasFilteredAdjoint)
        return operator.filtered_adjoint("hann")(acquisition.data)

    def withheld(self, acquisition: Acquisition, noise: Noise) -> Tensor:
        """Views to try a reconstruction on, see :mod:`medldm_ct.withheld_views`."""
        return withheld_views(acquisition.size("view"), noise)

    def measurement_bytes(self, grid: Grid) -> int:
        """Bytes of the line integrals, float32."""
        return 4 * grid.shape[0] * self.scan(image_plane(grid)).rays

    def bytes_needed(self, grid: Grid, measurement: Acquisition | None = None) -> int:
        """Peak bytes of measurement and operator."""
        plane = image_plane(grid)
        redundancy: Redundancy | None
        if measurement is None:
            geometry, redundancy = self.scan(plane), self.redundancy()
        else:
            geometry, redundancy = scan_of(measurement), redundancy_of(measurement)
        sinogram = 4 * grid.shape[0] * geometry.rays
        matrix = operator_bytes(geometry, plane, grid.shape[0], storage=self.storage)
        # Filtered back-projection of a fan keeps values of its own, half of the matrix; that of a displaced detector
        # has a second matrix. Building takes half of it again, of whose pages solvers find use for about one in two.
        if redundancy is not None and redundancy.kind == "displaced":
            start = matrix * 2
        else:
            start = matrix // 2 if isinstance(geometry, FanBeam) else matrix // 4
        # The filter pads the bins to twice their number and more, in real and complex copies.
        return matrix + start + 12 * sinogram

    def simulation_bytes(self, grid: Grid) -> int:
        """Peak bytes of the projections of the finer image."""
        plane = image_plane(grid)
        return 4 * self.measurement_bytes(grid) + projection_bytes(self.scan(plane), plane, self.oversample)

    def _angles(self) -> tuple[float, ...]:
        step = self.arc_deg / self.views
        return tuple(math.radians(self.start_deg + i * step) for i in range(self.views))

    def _bins(self, needed: float, pitch: float) -> int:
        """As many bins as see ``needed`` mm: to either side of the axis, under displaced weights to the farther one."""
        half = detector_half(needed, self.offset_mm, displaced=self.weights == "displaced")
        return self.bins or max(1, math.ceil(2 * half / pitch - 1e-9))


@dataclass(frozen=True)
class ParallelBeamCt(ComputedTomography):
    """Parallel beam CT, see :class:`ComputedTomography`."""

    name: ClassVar[str] = "ct-parallel"

    def scan(self, plane: ImagePlane) -> Geometry:
        pitch = self.pitch_mm or min(plane.spacing)
        return ParallelBeam(self._angles(), self._bins(plane.radius, pitch), pitch, self.offset_mm)

    def _by_arc(self) -> RedundancyName | None:
        if self.arc_deg == 180:
            return "half-turn"
        if self.arc_deg < 180:
            return "limited"
        return "full-turn" if self.arc_deg == 360 and self.offset_mm == 0 else None


@dataclass(frozen=True)
class FanBeamCt(ComputedTomography):
    """Fan beam CT, see :class:`ComputedTomography`.

    Attributes:
        source_to_centre_mm: distance of the source from the axis of rotation.
        source_to_detector_mm: distance of the source from the detector.
        detector: ``flat`` or ``curved``, an arc around the source as in clinical scanners (equiangular).
    """

    name: ClassVar[str] = "ct-fan"

    views: Annotated[int, Field(ge=1, le=100_000)] = 360
    arc_deg: Annotated[float, Field(gt=0, le=360)] = 360.0
    source_to_centre_mm: Length = 595.0
    source_to_detector_mm: Length = 1086.0
    detector: Literal["flat", "curved"] = "curved"

    def scan(self, plane: ImagePlane) -> Geometry:
        magnification = self.source_to_detector_mm / self.source_to_centre_mm
        pitch = self.pitch_mm or min(plane.spacing) * magnification
        # One bin to learn from the geometry itself how much of the detector the image needs.
        sketch = FanBeam(
            self._angles(), 1, pitch, 0.0, self.source_to_centre_mm, self.source_to_detector_mm,
            self.detector == "curved",
        )  # fmt: skip
        bins = self._bins(sketch.field_of_view(plane), pitch)
        return FanBeam(
            sketch.angles, bins, pitch, self.offset_mm, self.source_to_centre_mm, self.source_to_detector_mm,
            self.detector == "curved",
        )  # fmt: skip

    def _by_arc(self) -> RedundancyName | None:
        return "full-turn" if self.arc_deg == 360 and self.offset_mm == 0 else None
