"""Computed tomography with the projectors of the ASTRA toolbox (van Aarle et al. 2016, doi 10.1364/OE.24.025129)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from medldm.data import Acquisition, Grid, Volume
from medldm.data.intensity import MU_WATER_PER_MM, attenuation_from
from medldm.errors import InputRefused
from medldm.inference import Likelihood, Noise
from medldm.inference.weighted_gaussian import WeightedGaussian
from medldm.operators import LinearOperator
from medldm_astra.geometry import AstraScan, Projector, square_pixel
from medldm_astra.matrix_operator import SliceMatrix

_ASTRA = (
    "W. van Aarle, W. J. Palenstijn, J. Cant, E. Janssens, F. Bleichrodt, A. Dabravolski, J. De Beenhouwer, K. J. "
    "Batenburg, J. Sijbers. Fast and flexible X-ray tomography using the ASTRA toolbox. Optics Express 24(22), "
    "25129-25147, 2016."
)
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_START_ITERATIONS = 20
# Weights per pixel and view: of the widest projector, strip, where bins are as wide as pixels.
_WEIGHTS = 3.3


@dataclass(frozen=True)
class AstraCt:
    """Line integrals of a stack of slices by the weights of an ASTRA projector.

    Attributes:
        geometry: ``parallel``, or ``fan`` with a flat detector; of the simulation. A measurement states its own.
        views, arc_deg, start_deg: equispaced over the arc in degrees.
        bins: number of detector bins; None takes as many as see the whole image.
        pitch_mm: distance of the bins; None takes the size of a pixel seen at the axis.
        offset_mm: position of the detector's middle along the detector.
        source_to_centre_mm, source_to_detector_mm: of a fan.
        projector: ``linear`` (Joseph), ``strip`` (area) or ``line`` (length) for parallel rays, ``line`` for fans;
            ``auto`` takes linear and line.
        oversample: the simulation projects from pixels so many times finer; 1 commits the inverse crime.
        photons: per bin without an object, of the simulated counts.
        mu_water_per_mm: attenuation of water, between HU and 1/mm.
    """

    references: ClassVar[tuple[str, ...]] = (_ASTRA,)
    explains: ClassVar[tuple[str, ...]] = ("ct-parallel", "ct-fan")

    geometry: Literal["parallel", "fan"] = "parallel"
    views: Annotated[int, Field(ge=1, le=100_000)] = 180
    arc_deg: Annotated[float, Field(gt=0, le=360)] = 180.0
    start_deg: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    bins: Annotated[int, Field(ge=1, le=100_000)] | None = None
    pitch_mm: Length | None = None
    offset_mm: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    source_to_centre_mm: Length = 595.0
    source_to_detector_mm: Length = 1086.0
    projector: Projector = "auto"
    oversample: Annotated[int, Field(ge=1, le=8)] = 2
    photons: Length = 1.0e5
    mu_water_per_mm: Length = MU_WATER_PER_MM

    def scan(self, grid: Grid) -> AstraScan:
        """The scan of an image by these options."""
        pixel = square_pixel(grid)
        radius = math.hypot(grid.shape[1], grid.shape[2]) * pixel / 2
        step = self.arc_deg / self.views
        angles = tuple(math.radians(self.start_deg + i * step) for i in range(self.views))
        source, reach, scale = None, radius, 1.0
        if self.geometry == "fan":
            source = (self.source_to_centre_mm, self.source_to_detector_mm)
            if radius >= source[0] or source[0] > source[1]:
                raise InputRefused(
                    "E-AST-02",
                    f"The image reaches {radius:.1f} mm from the axis, the source stands {source[0]:g} mm from it and "
                    f"{source[1]:g} mm from the detector.",
                    fix="Check the pixel size and the distances in mm.",
                )
            scale = source[1] / source[0]
            reach = source[1] * math.tan(math.asin(radius / source[0]))
        pitch = self.pitch_mm or pixel * scale
        bins = self.bins or max(1, math.ceil(2 * (reach - abs(self.offset_mm)) / pitch - 1e-9))
        return AstraScan(angles, bins, pitch, self.offset_mm, source)

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Scan an image in HU or 1/mm from finer pixels, count photons, take the logarithm.

        Raises:
            InputRefused: E-AST-04 for an image in another unit, E-AST-02 and E-AST-03 for its geometry, E-PIX-01 for
                voxels that are not finite.
        """
        if volume.quantity == "arbitrary" or volume.data.is_complex():
            raise InputRefused(
                "E-AST-04",
                "The image is neither in HU nor in 1/mm, or it is complex.",
                why="The attenuation of its voxels is not known.",
                fix="Give a CT image, or state its modality when it is read.",
            )
        to_attenuation = attenuation_from(volume.quantity, self.mu_water_per_mm)
        attenuation = to_attenuation(volume.require_finite().data.cpu()).clamp(min=0)
        scan, n = self.scan(volume.grid), self.oversample
        finer = torch.nn.functional.interpolate(attenuation[:, None], scale_factor=n, mode="bilinear")[:, 0]
        shape = (finer.shape[1], finer.shape[2])
        matrix = scan.matrix(shape, square_pixel(volume.grid) / n, self.projector)
        exact = SliceMatrix(matrix, (len(finer), *shape), self.views)(finer)
        counts = noise.poisson(self.photons * torch.exp(-exact), "photons")
        settings = scan.settings() | {
            "photons": self.photons,
            "electronic_std": 0.0,
            "mu_water_per_mm": self.mu_water_per_mm,
            "oversample": n,
        }
        return Acquisition(
            physics="ct-astra",
            data=torch.log(self.photons / counts.clamp(min=1)),
            axes=("z", "view", "bin"),
            grid=volume.grid,
            quantity="1/mm",
            modality="CT",
            output=to_attenuation.inverse,
            tensors={"angles": torch.tensor(scan.angles, dtype=torch.float64), "counts": counts},
            settings=settings,
            simulated=True,
            name=volume.name,
            history=volume.history.then("simulate", physics="ct-astra", views=self.views, **settings),
            source=volume.source,
        )

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """The projector's matrix in the geometry that the measurement states, float32.

        Raises:
            InputRefused: E-AST-02, E-AST-03.
            UsageError: E-AST-01.
        """
        scan = AstraScan.of(acquisition)
        matrix = scan.matrix((grid.shape[1], grid.shape[2]), square_pixel(grid), self.projector)
        return SliceMatrix(matrix, (grid.shape[0], grid.shape[1], grid.shape[2]), len(scan.angles))

    def likelihood(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        """Line integrals weighted by their photon counts, see Thibault et al. 2006.

        Raises:
            InputRefused: E-AST-02 without the photons per bin.
        """
        photons = acquisition.settings.get("photons")
        if not isinstance(photons, (int, float)) or not photons > 0:
            raise InputRefused(
                "E-AST-02",
                f"The measurement states {photons!r} photons per bin.",
                why="The likelihood cannot weigh its data without them.",
                fix="Store settings['photons'].",
            )
        counts = acquisition.tensors.get("counts")
        counts = photons * torch.exp(-acquisition.data) if counts is None else counts
        floored = counts.clamp(min=1.0)
        variance = float(acquisition.settings.get("electronic_std", 0.0)) ** 2
        return WeightedGaussian(operator, acquisition.data, floored.square() / (floored + variance))

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """SIRT from an empty image: ASTRA's filtered back-projection knows no fans on the CPU."""
        one = torch.ones(operator.domain.shape, device=acquisition.data.device)
        rows = operator(one).clamp(min=1e-6).reciprocal()
        columns = operator.H(torch.ones_like(acquisition.data)).clamp(min=1e-6).reciprocal()
        image = torch.zeros_like(one)
        for _ in range(_START_ITERATIONS):
            image = image + columns * operator.H(rows * (acquisition.data - operator(image)))
        return image

    def measurement_bytes(self, grid: Grid) -> int:
        """Bytes of the line integrals, float32."""
        scan = self.scan(grid)
        return 4 * grid.shape[0] * len(scan.angles) * scan.bins

    def bytes_needed(self, grid: Grid, measurement: Acquisition | None = None) -> int:
        """Bytes of matrix and transpose while they are made: double precision of ASTRA's beside float32."""
        views = self.views if measurement is None else measurement.size("view")
        sinogram = self.measurement_bytes(grid) if measurement is None else 4 * measurement.data.numel()
        entries = _WEIGHTS * views * grid.shape[1] * grid.shape[2]
        return round(entries * (12 + 2 * 8)) + 8 * sinogram
