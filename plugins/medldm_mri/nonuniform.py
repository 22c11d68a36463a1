"""The physics of magnetic resonance imaging along any trajectory: radial, spiral, or as the scanner says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from medldm.data import Acquisition, Grid, Volume
from medldm.inference import Noise
from medldm.inference.withheld import tenth_of
from medldm.operators import LinearOperator
from medldm_mri import finufft_transform, kaiser_bessel, nonuniform_sense
from medldm_mri.central_kspace import central_kspace
from medldm_mri.coil_maps import MapsOption, maps_from_calibration, papers_of
from medldm_mri.density_compensation import pipe_menon, ramp
from medldm_mri.finufft_transform import FinufftTransform, has_finufft
from medldm_mri.gridding import Gridding, matrix_bytes
from medldm_mri.jsense import Jsense
from medldm_mri.kspace import SHOT_AXES, checked_maps
from medldm_mri.measured_phase import image_phase, windowed_centre
from medldm_mri.noise_model import GaussianKSpace, KSpaceNoise
from medldm_mri.nonuniform_kspace import checked_shots
from medldm_mri.nonuniform_sense import NonuniformSense
from medldm_mri.phase_constrained import ImageOption, of_images, papers_of_images
from medldm_mri.sense import Sense
from medldm_mri.simulated_object import PhaseOption, SimulatedObject
from medldm_mri.toeplitz import PointSpread
from medldm_mri.trajectory import Trajectory, cycles_per_field_of_view, plane_of

NAME = "mri-nonuniform"
# The matrices of gridding may take so much; beyond it FINUFFT, which has none, where it is installed.
_MATRIX_BYTES = 2**29


@dataclass(frozen=True)
class NonuniformMri:
    """Samples (z, coil, shot, sample) along a trajectory in 1/mm, the same for all slices of the stack.

    Attributes:
        coils: number of simulated receive coils.
        phase: ``smooth`` gives a magnitude image a smooth random phase before it is measured, ``none`` does not; an
            image that is complex already keeps its own.
        trajectory: of the simulated measurement.
        noise: of the simulated measurement.
        maps: coil maps of the reconstruction, from the centre of k-space by ``walsh`` or ``espirit``; ``jsense`` goes
            on from there with all samples; ``simulated`` takes those that made the measurement, which no scanner can.
        density: weights of the start image: ``pipe-menon`` for any trajectory, ``ramp`` for spokes.
        nufft: who computes the transform. ``gridding``, in torch; ``finufft``, the library, on a CPU; ``auto``,
            gridding unless its matrices would take more than 512 MiB and FINUFFT is there.
        tolerance: relative error of the transform.
        image: ``complex``, or ``real`` but for the phase that the centre of k-space shows, see
            :mod:`medldm_mri.phase_constrained`. A phase that varies faster is lost.
        likelihood: noise model of the reconstruction.
    """

    coils: Annotated[int, Field(ge=1, le=128)] = 8
    phase: PhaseOption = "smooth"
    trajectory: Trajectory = field(default_factory=Trajectory)
    noise: KSpaceNoise = field(default_factory=KSpaceNoise)
    maps: MapsOption = "jsense"
    image: ImageOption = "complex"
    density: Literal["pipe-menon", "ramp"] = "pipe-menon"
    nufft: Literal["auto", "gridding", "finufft"] = "auto"
    tolerance: Annotated[float, Field(ge=1e-12, le=1e-2)] = 2e-5
    likelihood: GaussianKSpace = field(default_factory=GaussianKSpace)

    @property
    def references(self) -> tuple[str, ...]:
        """What to cite for this physics, its transform, its way to coil maps and to real images."""
        transforms = {
            "gridding": (kaiser_bessel.PAPER,),
            "finufft": (finufft_transform.PAPER,),
            "auto": (kaiser_bessel.PAPER, finufft_transform.PAPER),
        }
        return (nonuniform_sense.PAPER, *transforms[self.nufft], *papers_of(self.maps), *papers_of_images(self.image))

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Measure an image: phase, coils, non-uniform Fourier transform, noise.

        The transform is scaled as the orthonormal Cartesian one, so noise means the same for both.

        Raises:
            InputRefused: E-MRI-03 for an image in HU or 1/mm, E-PIX-01 for voxels that are not finite.
        """
        scene = SimulatedObject(volume, self.coils, self.phase, noise)
        grid, std = volume.grid, self.noise.level(scene.magnitude)
        trajectory = self.trajectory.draw(grid)
        shots, samples, _ = trajectory.shape
        mask = torch.ones(shots, samples)
        points = cycles_per_field_of_view(trajectory, grid)
        transform = self._transform(points, grid)
        spread = PointSpread(points[:1], torch.ones(1), transform.shape)  # a measurement needs no gram
        data = noise.normal((grid.shape[0], self.coils, shots, samples), torch.complex64, "measurement", std=std)
        for z in range(grid.shape[0]):
            operator = NonuniformSense(scene.maps(z)[None], transform, mask, spread)
            data[z] += operator.forward(scene.image(z)[None])[0]
        settings = {
            "coils": self.coils,
            "phase": scene.phase,
            "trajectory": self.trajectory.kind,
            "shots": shots,
            "acceleration": self.trajectory.acceleration(grid),
        }
        tensors = {"trajectory": trajectory}
        if self.maps == "simulated":
            tensors["maps"] = scene.array.all()
        return scene.measured(NAME, data, SHOT_AXES, tensors=tensors, settings=settings, noise_std=std)

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """The SENSE operator of a measurement; its coil maps are estimated here.

        Raises:
            InputRefused: E-MRI-04, -05, -06, -08, -09, -10 k-space or trajectory cannot be understood; E-MRI-11 no
                fully sampled centre to estimate maps from; E-ACQ-04 no maps where they are asked for.
            ComponentMissing: E-MRI-12 FINUFFT is asked for and not installed.
        """
        operator = self._sense(acquisition, grid)
        return of_images(self.image, operator, lambda: self.object_phase(acquisition, operator))

    def _sense(self, acquisition: Acquisition, grid: Grid) -> NonuniformSense:
        """The operator of complex images."""
        kspace, points, encode = self._encoding(acquisition, grid)
        slices, coils = kspace.shape[:2]
        if self.maps == "simulated":
            return encode(checked_maps(acquisition, grid), slices)
        alone = torch.ones((1, 1, *grid.shape[1:]), dtype=kspace.dtype, device=kspace.device)
        if coils == 1:
            return encode(alone, slices)
        calibration = central_kspace(kspace, points, encode(alone, coils))
        maps = maps_from_calibration(self.maps, calibration, plane_of(grid))
        if self.maps == "jsense":
            maps = Jsense().refine(maps, kspace, encode)
        return encode(maps, slices)

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """The gridded image ``A^H D y`` (z, y, x): D compensates the density; scaled to fit ``y`` best."""
        kspace, mask, trajectory = checked_shots(acquisition, acquisition.grid)
        points = cycles_per_field_of_view(trajectory, acquisition.grid)
        if self.density == "ramp":
            weights = ramp(points, len(trajectory))
        else:
            # Samples that were not measured may lie anywhere, and share their place with none.
            measured = mask.flatten().cpu() > 0
            weights = torch.zeros(len(points), dtype=torch.float64)
            weights[measured] = pipe_menon(points[measured], plane_of(acquisition.grid))
        image = operator.H(kspace * weights.to(mask).view(mask.shape))
        explained = operator(image)
        norm = float(explained.abs().square().sum())
        return image * (float((explained.conj() * kspace).sum().real) / norm) if norm else image

    def object_phase(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """Phase of the image from its k-space, see :mod:`medldm_mri.measured_phase`."""
        grid, sense = acquisition.grid, cast(NonuniformSense, operator)
        kspace, points, encode = self._encoding(acquisition, grid)
        alone = torch.ones((1, 1, *grid.shape[1:]), dtype=sense.maps.dtype, device=sense.maps.device)
        centre = central_kspace(kspace, points, encode(alone, kspace.shape[1]))
        cartesian = Sense(sense.maps, torch.ones(grid.shape[1:]), slices=grid.shape[0])
        coarse = cartesian.adjoint(windowed_centre(centre, grid.shape[1:]))
        return image_phase(coarse, kspace, operator)

    def withheld(self, acquisition: Acquisition, noise: Noise) -> Tensor:
        """A tenth of the measured shots, drawn at random, (shot, 1): 1 where withheld."""
        _, mask, _ = checked_shots(acquisition, acquisition.grid)
        shots = (mask != 0).any(1).cpu()
        return tenth_of(shots, noise, measured=int(shots.sum()))[:, None]

    def measurement_bytes(self, grid: Grid) -> int:
        """Bytes of the samples of ``coils`` coils, complex64."""
        return 8 * grid.shape[0] * self.coils * self.trajectory.samples(grid)

    def bytes_needed(self, grid: Grid, measurement: Acquisition | None = None) -> int:
        """Peak bytes of measurement and operator: samples and coil maps, complex64, and what the transform holds."""
        slices, (ny, nx) = grid.shape[0], plane_of(grid)
        coils, samples = self.coils, self.trajectory.samples(grid)
        if measurement is not None:
            coils, samples = measurement.size("coil"), measurement.size("shot") * measurement.size("sample")
        stored = 8 * slices * coils * samples
        maps = 8 * slices * coils * ny * nx if coils > 1 else 0
        # A product of coil images with the fine grid, or the basis of the maps in a slice: four of them together.
        columns = max(coils, Jsense().order ** 2 if self.maps == "jsense" and coils > 1 else 0)
        scratch = 4 * 8 * columns * max(2 * ny * nx, samples)
        transform = matrix_bytes(samples, (ny, nx), self.tolerance)
        if self.nufft == "finufft" or (self.nufft == "auto" and transform > _MATRIX_BYTES and has_finufft()):
            transform = 0
        kept = stored + maps * (2 if self.maps == "simulated" else 1)
        # Sorting the matrices takes as much again.
        return kept + stored + 2 * transform + scratch

    def _encoding(self, acquisition: Acquisition, grid: Grid) -> tuple[Tensor, Tensor, Callable[..., NonuniformSense]]:
        """k-space, its points, and what makes the operator of given coil maps, with one transform for all of them."""
        kspace, mask, trajectory = checked_shots(acquisition, grid)
        points = cycles_per_field_of_view(trajectory, grid)
        dtype, device = kspace.dtype, kspace.device
        transform = self._transform(points, grid, dtype).to(device)
        spread = PointSpread(points, mask.flatten().double(), plane_of(grid), dtype).to(device)

        def encode(maps: Tensor, slices: int | None = None) -> NonuniformSense:
            return NonuniformSense(maps, transform, mask, spread, slices=slices)

        return kspace, points, encode

    def _transform(
        self, points: Tensor, grid: Grid, dtype: torch.dtype = torch.complex64
    ) -> Gridding | FinufftTransform:
        shape = plane_of(grid)
        large = matrix_bytes(len(points), shape, self.tolerance) > _MATRIX_BYTES
        if self.nufft == "finufft" or (self.nufft == "auto" and large and has_finufft()):
            return FinufftTransform(points, shape, dtype, tolerance=self.tolerance)
        return Gridding(points, shape, dtype, tolerance=self.tolerance)
