"""The physics of Cartesian volumes with two phase-encoding directions, kz and ky, of which both are undersampled."""

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
from medldm_mri.kspace import checked_maps, measured_kspace
from medldm_mri.masks import SamplingMask, acceleration_of
from medldm_mri.measured_phase import image_phase, phase_centre, windowed_centre
from medldm_mri.noise_model import GaussianKSpace, KSpaceNoise
from medldm_mri.phase_constrained import ImageOption, of_images, papers_of_images
from medldm_mri.sense import Sense
from medldm_mri.separate_calibration import bytes_of, for_maps, own_centre, separate_calibration
from medldm_mri.simulated_object import PhaseOption, SimulatedObject
from medldm_mri.volume_sense import VolumeSense, to_readout_frequency, to_readout_place
from medldm_mri.withheld_lines import withheld_lines

NAME = "mri-cartesian-3d"
AXES = ("coil", "kz", "ky", "kx")


@dataclass(frozen=True)
class CartesianMri3d:
    """Cartesian k-space (coil, kz, ky, kx) of a volume, frequency zero at ``n // 2``, orthonormal transform.

    Attributes:
        coils: number of simulated receive coils.
        phase: ``smooth`` gives a magnitude image a smooth random phase before it is measured, ``none`` does not; an
            image that is complex already keeps its own.
        mask: which readouts are measured, of the plane (kz, ky): the first of its axes, ``y``, is kz, and ``x`` is ky.
        noise: of the simulated measurement.
        maps: coil maps of the reconstruction. ``walsh`` and, better, ``espirit`` estimate them from the calibration
            region, place by place along the readout; ``jsense`` goes on from there with all readouts, where these have
            a full centre; ``simulated`` takes those that made the measurement, which no scanner can.
        image: ``complex``, or ``real`` but for the phase that the centre of k-space shows, see
            :mod:`medldm_mri.phase_constrained`. A phase that varies faster is lost.
        likelihood: noise model of the reconstruction.
    """

    coils: Annotated[int, Field(ge=1, le=128)] = 8
    phase: PhaseOption = "smooth"
    mask: SamplingMask = field(
        default_factory=lambda: SamplingMask(kind="poisson-disc-2d", acceleration=6.0, calibration=0.15)
    )
    noise: KSpaceNoise = field(default_factory=KSpaceNoise)
    maps: MapsOption = "jsense"
    image: ImageOption = "complex"
    likelihood: GaussianKSpace = field(default_factory=GaussianKSpace)

    @property
    def references(self) -> tuple[str, ...]:
        """What to cite for this physics, its way to coil maps and to real images."""
        return (sense.PAPER, *papers_of(self.maps), *papers_of_images(self.image))

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Measure a volume: phase, coils, Fourier transform along three axes, noise, and last the mask.

        Raises:
            InputRefused: E-MRI-03 for an image in HU or 1/mm, E-PIX-01 for voxels that are not finite.
            UsageError: E-MRI-01 when the calibration region exceeds what the acceleration leaves.
        """
        scene = SimulatedObject(volume, self.coils, self.phase, noise)
        nz, ny, nx = volume.grid.shape
        mask = self.mask.draw((nz, ny), noise)
        std = self.noise.level(scene.magnitude)
        image = torch.stack([scene.image(z) for z in range(nz)])
        maps = torch.stack([scene.maps(z) for z in range(nz)])
        planes = torch.empty((nx, self.coils, nz, ny), dtype=torch.complex64)
        alone = Sense(torch.ones((1, 1, nz, ny), dtype=torch.complex64), torch.ones(nz, ny), slices=nx)
        for coil in range(self.coils):
            planes[:, coil] = alone.forward((maps[:, coil] * image).movedim(-1, 0))[:, 0]
        data = noise.normal((self.coils, nz, ny, nx), torch.complex64, "measurement", std=std)
        data = (data + to_readout_frequency(planes)) * mask[..., None]
        settings = {
            "coils": self.coils,
            "phase": scene.phase,
            "mask": self.mask.kind,
            "acceleration": acceleration_of(mask),
            "calibration": self.mask.calibration,
        }
        tensors = {"mask": mask[..., None]}
        if self.maps == "simulated":
            tensors["maps"] = maps
        return scene.measured(NAME, data, AXES, tensors=tensors, settings=settings, noise_std=std)

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """The SENSE operator of a measurement; its coil maps are estimated here.

        A tensor ``calibration`` (coil, kz, ky, kx), see :mod:`medldm_mri.separate_calibration`, goes before the centre
        of k-space; its readouts are whole.

        Raises:
            InputRefused: E-MRI-04 k-space has other axes, or its mask or maps another size; E-MRI-06 it is not finite;
                E-MRI-10 a coil measured nothing; E-MRI-05 the image grid has another size; E-MRI-02 too few
                calibration lines; E-ACQ-04 no mask, or no maps where they are asked for.
        """
        kspace, mask = _checked_kspace(acquisition, grid)
        coils, nz, ny, nx = kspace.shape
        if self.maps == "simulated":
            maps = checked_maps(acquisition, grid).expand(nz, coils, ny, nx).permute(3, 1, 0, 2)
        elif coils == 1:
            maps = torch.ones((nx, 1, nz, ny), dtype=kspace.dtype, device=kspace.device)
        else:
            planes = to_readout_place(kspace).contiguous()
            separate = separate_calibration(acquisition, ("coil", "kx"))
            separate = None if separate is None else to_readout_place(separate)
            maps = maps_from_calibration(self.maps, for_maps(separate, planes, mask), (nz, ny))
            if self.maps == "jsense" and own_centre(mask) is not None:
                maps = Jsense().refine(maps, planes, lambda estimate: Sense(estimate, mask))
        operator = VolumeSense(maps.contiguous(), mask)
        return of_images(self.image, operator, lambda: self.object_phase(acquisition, operator))

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """The zero-filled image ``A^H y`` (z, y, x); darker than the object by the unsampled energy."""
        kspace, _ = _checked_kspace(acquisition, acquisition.grid)
        return operator.H(kspace)

    def object_phase(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """Phase of the image from its k-space, see :mod:`medldm_mri.measured_phase`."""
        kspace, mask = _checked_kspace(acquisition, acquisition.grid)
        centre = phase_centre(mask, acquisition.size("coil"))
        if centre is None:
            return image_phase(None, kspace, operator)
        kz, ky = centre
        nz, ny, _ = acquisition.grid.shape
        planes = to_readout_place(kspace)
        coarse = operator.H(to_readout_frequency(windowed_centre(planes[..., kz, ky], (nz, ny))))
        return image_phase(coarse, kspace, operator)

    def withheld(self, acquisition: Acquisition, noise: Noise) -> Tensor:
        """Readouts to try a reconstruction on, (kz, ky, 1), see :mod:`medldm_mri.withheld_lines`."""
        _, mask = _checked_kspace(acquisition, acquisition.grid)
        return withheld_lines(mask, noise, own_centre(mask))[..., None]

    def measurement_bytes(self, grid: Grid) -> int:
        """Bytes of the k-space of ``coils`` coils, complex64."""
        nz, ny, nx = grid.shape
        return 8 * nz * self.coils * ny * nx

    def bytes_needed(self, grid: Grid, measurement: Acquisition | None = None) -> int:
        """Peak bytes: k-space, maps, and two more stacks while the readout is transformed and its axes turned."""
        if measurement is not None:
            return replace(self, coils=measurement.size("coil")).bytes_needed(grid) + bytes_of(measurement)
        return 5 * self.measurement_bytes(grid)


def _checked_kspace(acquisition: Acquisition, grid: Grid) -> tuple[Tensor, Tensor]:
    """k-space (coil, kz, ky, kx) and the sampling mask (kz, ky) of a measurement."""
    data = acquisition.data
    if acquisition.axes != AXES or not data.is_complex():
        raise InputRefused(
            "E-MRI-04",
            f"The measurement is {data.dtype} with axes {acquisition.axes}, not complex with axes {AXES}.",
            why="Volumes are measured as complex samples per coil along three axes.",
            fix="Name the axes; slices that were measured one by one are mri-cartesian.",
        )
    if tuple(grid.shape) != tuple(data.shape[1:]):
        raise InputRefused(
            "E-MRI-05",
            f"The image grid is {' x '.join(map(str, grid.shape))} (z, y, x), "
            f"k-space is {' x '.join(map(str, data.shape[1:]))} (kz, ky, kx).",
            why="The Fourier transform keeps the number of samples.",
            fix="Reconstruct on the grid of the measurement: operator.grid: native.",
        )
    kspace, mask = measured_kspace(acquisition)
    return kspace, mask[..., 0]
