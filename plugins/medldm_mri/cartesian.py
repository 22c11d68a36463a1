"""The physics of Cartesian magnetic resonance imaging, from an image to k-space and back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medldm.data import Acquisition, Grid, Volume
from medldm.errors import InputRefused
from medldm.inference import Noise
from medldm.operators import LinearOperator
from medldm_mri import sense
from medldm_mri.coil_maps import MapsOption, maps_from_calibration, papers_of
from medldm_mri.jsense import Jsense
from medldm_mri.kspace import AXES, checked_kspace, checked_maps
from medldm_mri.masks import SamplingMask, acceleration_of
from medldm_mri.measured_phase import measured_phase
from medldm_mri.noise_model import GaussianKSpace, KSpaceNoise
from medldm_mri.phase_constrained import ImageOption, of_images, papers_of_images
from medldm_mri.sense import Sense
from medldm_mri.separate_calibration import bytes_of, for_maps, own_centre, separate_calibration
from medldm_mri.simulated_object import PhaseOption, SimulatedObject
from medldm_mri.withheld_lines import withheld_lines

NAME = "mri-cartesian"


@dataclass(frozen=True)
class CartesianMri:
    """Cartesian k-space (z, coil, ky, kx) of a stack of slices, frequency zero at ``n // 2``, orthonormal transform.

    Attributes:
        coils: number of simulated receive coils.
        phase: ``smooth`` gives a magnitude image a smooth random phase before it is measured, ``none`` does not; an
            image that is complex already keeps its own.
        mask: which samples are measured.
        noise: of the simulated measurement.
        maps: coil maps of the reconstruction. ``walsh`` and, better, ``espirit`` estimate them from the calibration
            lines, and ``jsense`` goes on from there with all lines, where these have a full centre; ``simulated`` takes
            those that made the measurement, which no scanner can.
        image: ``complex``, or ``real`` but for the phase that the centre of k-space shows: what partial Fourier needs,
            where only one side of k-space was measured. A phase that varies faster than that centre shows is lost.
        likelihood: noise model of the reconstruction.
    """

    coils: Annotated[int, Field(ge=1, le=128)] = 8
    phase: PhaseOption = "smooth"
    mask: SamplingMask = field(default_factory=SamplingMask)
    noise: KSpaceNoise = field(default_factory=KSpaceNoise)
    maps: MapsOption = "jsense"
    image: ImageOption = "complex"
    likelihood: GaussianKSpace = field(default_factory=GaussianKSpace)

    @property
    def references(self) -> tuple[str, ...]:
        """What to cite for this physics, its way to coil maps and to real images."""
        return (sense.PAPER, *papers_of(self.maps), *papers_of_images(self.image))

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Measure an image: phase, coils, Fourier transform, noise, and last the mask (zeros where nothing is sampled).

        The image keeps its scale: coil maps have a sum of squares of 1.

        Raises:
            InputRefused: E-MRI-03 for an image in HU or 1/mm, E-PIX-01 for voxels that are not finite.
            UsageError: E-MRI-01 when the calibration region exceeds what the acceleration leaves.
        """
        scene = SimulatedObject(volume, self.coils, self.phase, noise)
        slices, ny, nx = volume.grid.shape
        mask = self.mask.draw((ny, nx), noise)
        std = self.noise.level(scene.magnitude)
        data = noise.normal((slices, self.coils, ny, nx), torch.complex64, "measurement", std=std)
        for z in range(slices):
            data[z] += Sense(scene.maps(z)[None], torch.ones(ny, nx)).forward(scene.image(z)[None])[0]
            data[z] *= mask
        settings = {
            "coils": self.coils,
            "phase": scene.phase,
            "mask": self.mask.kind,
            "acceleration": acceleration_of(mask),
            "calibration": self.mask.calibration,
        }
        tensors = {"mask": mask, "maps": scene.array.all()} if self.maps == "simulated" else {"mask": mask}
        return scene.measured(NAME, data, AXES, tensors=tensors, settings=settings, noise_std=std)

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """The SENSE operator of a measurement; its coil maps are estimated here.

        A tensor ``calibration`` (z, coil, ky, kx), see :mod:`medldm_mri.separate_calibration`, goes before the centre
        of k-space.

        Raises:
            InputRefused: E-MRI-04 k-space has other axes, or its mask or maps another size; E-MRI-06 it is not finite;
                E-MRI-05 the image grid has another size; E-MRI-02 too few calibration lines; E-ACQ-04 no maps where
                they are asked for; E-MRI-07 no centre that would show a phase.
        """
        kspace, mask = checked_kspace(acquisition)
        slices, coils, ny, nx = kspace.shape
        if tuple(grid.shape) != (slices, ny, nx):
            raise InputRefused(
                "E-MRI-05",
                f"The image grid is {' x '.join(map(str, grid.shape))} (z, y, x), "
                f"k-space is {slices} x {ny} x {nx} (z, ky, kx).",
                why="The Fourier transform keeps the number of samples.",
                fix="Reconstruct on the grid of the measurement: operator.grid: native.",
            )
        if self.maps == "simulated":
            maps = checked_maps(acquisition, grid)
        elif coils == 1:
            maps = torch.ones((1, 1, ny, nx), dtype=kspace.dtype, device=kspace.device)
        else:
            separate = separate_calibration(acquisition, ("z", "coil"))
            maps = maps_from_calibration(self.maps, for_maps(separate, kspace, mask), (ny, nx))
            if self.maps == "jsense" and own_centre(mask) is not None:
                maps = Jsense().refine(maps, kspace, lambda estimate: Sense(estimate, mask))
        operator = Sense(maps, mask, slices=slices)
        return of_images(self.image, operator, lambda: measured_phase(acquisition, operator))

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """The zero-filled image ``A^H y`` (z, y, x); darker than the object by the unsampled energy."""
        kspace, _ = checked_kspace(acquisition)
        return operator.H(kspace)

    def object_phase(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """Phase of the image from its k-space, see :mod:`medldm_mri.measured_phase`."""
        return measured_phase(acquisition, operator)

    def withheld(self, acquisition: Acquisition, noise: Noise) -> Tensor:
        """Lines to try a reconstruction on, see :mod:`medldm_mri.withheld_lines`."""
        _, mask = checked_kspace(acquisition)
        return withheld_lines(mask, noise, own_centre(mask))

    def measurement_bytes(self, grid: Grid) -> int:
        """Bytes of the k-space of ``coils`` coils, complex64."""
        slices, ny, nx = grid.shape
        return 8 * slices * self.coils * ny * nx

    def bytes_needed(self, grid: Grid, measurement: Acquisition | None = None) -> int:
        """Peak bytes of measurement and operator: k-space and coil maps of ``coils`` coils, complex64, and slices."""
        if measurement is not None:
            return replace(self, coils=measurement.size("coil")).bytes_needed(grid) + bytes_of(measurement)
        _, ny, nx = grid.shape
        coil_stack = self.measurement_bytes(grid)
        kept = coil_stack * (2 if self.coils > 1 else 1) + (coil_stack if self.maps == "simulated" else 0)
        # One more stack while the measurement is drawn or the maps are folded, and a few slices of scratch.
        # The maps' basis in a slice: itself, folded into a probe, times the image, and transformed.
        joint = 4 * 8 * Jsense().order ** 2 * ny * nx if self.maps == "jsense" and self.coils > 1 else 0
        return kept + coil_stack + max(joint, 4 * 8 * self.coils * ny * nx)
