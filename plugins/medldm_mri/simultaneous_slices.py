"""The physics of simultaneous multi-slice imaging with controlled aliasing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from medldm.data import Acquisition, Grid, Volume
from medldm.errors import InputRefused, UsageError
from medldm.inference import Noise
from medldm.operators import Composition, LinearOperator
from medldm_mri import sense, slice_bands
from medldm_mri.centred_block import centred_block
from medldm_mri.coil_maps import maps_from_calibration, papers_of
from medldm_mri.kspace import checked_maps, measured_kspace, require_finite
from medldm_mri.masks import SamplingMask, acceleration_of
from medldm_mri.measured_phase import unit_phase, windowed_centre
from medldm_mri.noise_model import GaussianKSpace, KSpaceNoise
from medldm_mri.phase_constrained import ImageOption, of_images, papers_of_images
from medldm_mri.sense import Sense
from medldm_mri.simulated_object import PhaseOption, SimulatedObject
from medldm_mri.slice_bands import SliceBands
from medldm_mri.withheld_lines import drawn_tenth

NAME = "mri-simultaneous-slices"
AXES = ("group", "coil", "ky", "kx")


@dataclass(frozen=True)
class SimultaneousSlices:
    """k-space (group, coil, ky, kx): the sum of ``bands`` slices, which the coils tell apart.

    Attributes:
        coils: number of simulated receive coils; they stand around the patient, so bands are told apart by their
            shift as much as by their distance.
        bands: slices excited together; slice g of group g, g + n / bands, ...
        shift: field of view over the shift along y of neighbouring bands; 1 shifts none.
        phase: ``smooth`` gives a magnitude image a smooth random phase before it is measured, ``none`` does not; an
            image that is complex already keeps its own.
        mask: which samples are measured besides, the same for all groups. It needs no calibration region.
        reference: lines and columns of a centre of k-space that is measured slice by slice beforehand, for the coil
            maps.
        noise: of the simulated measurement and of the reference.
        maps: coil maps of the reconstruction, from the reference by ``espirit`` or ``walsh``; ``simulated`` takes
            those that made the measurement, which no scanner can.
        image: ``complex``, or ``real`` but for the phase that the reference shows, see
            :mod:`medldm_mri.phase_constrained`. A phase that varies faster is lost.
        likelihood: noise model of the reconstruction.
    """

    coils: Annotated[int, Field(ge=2, le=128)] = 16
    bands: Annotated[int, Field(ge=2, le=16)] = 3
    shift: Annotated[int, Field(ge=1, le=16)] = 3
    phase: PhaseOption = "smooth"
    mask: SamplingMask = field(
        default_factory=lambda: SamplingMask(kind="uniform", acceleration=2.0, calibration=0.0, axis="y")
    )
    reference: Annotated[int, Field(ge=8, le=128)] = 24
    noise: KSpaceNoise = field(default_factory=KSpaceNoise)
    maps: Literal["walsh", "espirit", "simulated"] = "espirit"
    image: ImageOption = "complex"
    likelihood: GaussianKSpace = field(default_factory=GaussianKSpace)

    @property
    def references(self) -> tuple[str, ...]:
        """What to cite for this physics, its way to coil maps and to real images."""
        return (sense.PAPER, *slice_bands.PAPERS, *papers_of(self.maps), *papers_of_images(self.image))

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Measure an image: phase, coils, Fourier transform, the sum of the bands, noise, and last the mask.

        Raises:
            InputRefused: E-MRI-03 for an image in HU or 1/mm, E-PIX-01 for voxels that are not finite.
            UsageError: E-MRI-13 when the slices do not divide into groups; E-MRI-01 from the mask.
        """
        scene = SimulatedObject(volume, self.coils, self.phase, noise)
        slices, ny, nx = volume.grid.shape
        if slices % self.bands:
            raise UsageError(
                "E-MRI-13",
                f"{slices} slices do not divide into groups of {self.bands}.",
                why="As many slices are measured together in every group.",
                fix=f"Take a multiple with --slices, or another acquisition.bands than {self.bands}.",
            )
        mask = self.mask.draw((ny, nx), noise)
        std = self.noise.level(scene.magnitude)
        single = torch.empty((slices, self.coils, ny, nx), dtype=torch.complex64)
        for z in range(slices):
            single[z] = Sense(scene.maps(z)[None], torch.ones(ny, nx)).forward(scene.image(z)[None])[0]
        reference = single[..., *centred_block((ny, nx), (min(ny, self.reference), min(nx, self.reference)))]
        reference = reference + noise.normal(tuple(reference.shape), torch.complex64, "reference", std=std)
        groups = slices // self.bands
        data = noise.normal((groups, self.coils, ny, nx), torch.complex64, "measurement", std=std) * mask
        data += SliceBands((slices, self.coils, ny, nx), mask, bands=self.bands, shift=self.shift).forward(single)
        settings = {
            "coils": self.coils,
            "phase": scene.phase,
            "bands": self.bands,
            "shift": self.shift,
            "mask": self.mask.kind,
            "acceleration": acceleration_of(mask) * self.bands,
        }
        tensors = {"mask": mask, "reference": reference}
        if self.maps == "simulated":
            tensors["maps"] = scene.array.all()
        return scene.measured(NAME, data, AXES, tensors=tensors, settings=settings, noise_std=std)

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """Coil maps, transform of each slice, sum of the bands; the maps are estimated here.

        Bands and shift are those of the measurement, not those of the recipe.

        Raises:
            InputRefused: E-MRI-04 k-space has other axes, or mask, reference or maps another size; E-MRI-06 it is not
                finite; E-MRI-10 a coil measured nothing; E-MRI-05 the grid does not fit; E-MRI-14 bands or shift are
                no whole numbers; E-ACQ-04 mask, reference or maps are missing.
        """
        kspace, mask, bands, shift = _checked(acquisition, grid)
        slices, ny, nx = grid.shape
        if self.maps == "simulated":
            maps = checked_maps(acquisition, grid)
        else:
            maps = maps_from_calibration(self.maps, _checked_reference(acquisition, grid), (ny, nx))
        shape = (slices, kspace.shape[1], ny, nx)
        together = SliceBands(shape, mask, bands=bands, shift=shift, dtype=kspace.dtype)
        operator = together @ Sense(maps, torch.ones_like(mask), slices=slices)
        return of_images(self.image, operator, lambda: self.object_phase(acquisition, operator))

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """``A^H y`` (z, y, x): every slice with the others of its group folded into it."""
        kspace, *_ = _checked(acquisition, acquisition.grid)
        return operator.H(kspace)

    def object_phase(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """Phase of the image from the reference alone: what a least-squares image would add is mostly folding."""
        centre = windowed_centre(_checked_reference(acquisition, acquisition.grid), acquisition.data.shape[-2:])
        each = cast(Composition, operator).inner
        return unit_phase(each.H(centre))

    def withheld(self, acquisition: Acquisition, noise: Noise) -> Tensor:
        """A tenth of the measured lines, or of the samples where there are no lines, (ky, kx): 1 where withheld."""
        _, mask, *_ = _checked(acquisition, acquisition.grid)
        return drawn_tenth(mask != 0, noise)

    def measurement_bytes(self, grid: Grid) -> int:
        """Bytes of the k-space of ``coils`` coils, complex64."""
        slices, ny, nx = grid.shape
        return 8 * -(-slices // self.bands) * self.coils * ny * nx

    def bytes_needed(self, grid: Grid, measurement: Acquisition | None = None) -> int:
        """Peak bytes: measurement, coil maps, and the k-space of all slices apart, twice."""
        if measurement is not None:
            bands = _whole_number(measurement, "bands")
            return replace(self, coils=measurement.size("coil"), bands=bands).bytes_needed(grid)
        slices, ny, nx = grid.shape
        return self.measurement_bytes(grid) + 3 * 8 * slices * self.coils * ny * nx


def _checked(acquisition: Acquisition, grid: Grid) -> tuple[Tensor, Tensor, int, int]:
    """k-space (group, coil, ky, kx), mask (ky, kx), bands and shift of a measurement."""
    data = acquisition.data
    if acquisition.axes != AXES or not data.is_complex():
        raise InputRefused(
            "E-MRI-04",
            f"The measurement is {data.dtype} with axes {acquisition.axes}, not complex with axes {AXES}.",
            why="Slices measured together are one group of complex samples per coil.",
            fix="Name the axes.",
        )
    bands, shift = (_whole_number(acquisition, name) for name in ("bands", "shift"))
    if tuple(grid.shape) != (bands * data.shape[0], *data.shape[-2:]):
        raise InputRefused(
            "E-MRI-05",
            f"The image grid is {' x '.join(map(str, grid.shape))} (z, y, x); k-space has {data.shape[0]} groups of "
            f"{bands} slices, and {data.shape[-2]} x {data.shape[-1]} samples.",
            why="Every slice belongs to one group.",
            fix="Store the setting bands of the sequence, and a grid of all slices.",
        )
    return *measured_kspace(acquisition), bands, shift


def _whole_number(acquisition: Acquisition, name: str) -> int:
    """A setting of the sequence, ``bands`` or ``shift``."""
    value = acquisition.settings.get(name)
    number = float(value) if not isinstance(value, bool) and isinstance(value, Real) else math.nan
    if not number.is_integer() or number < 1:
        raise InputRefused(
            "E-MRI-14",
            f"The setting {name} is {value!r}, which is no whole number from 1.",
            why="It is bands slices that were measured together, each shifted by 1/shift of the field of view.",
            fix="Store bands and shift of the sequence as numbers; a shift of FOV/2 is 2, none at all is 1.",
        )
    return int(number)


def _checked_reference(acquisition: Acquisition, grid: Grid) -> Tensor:
    """The centre of k-space of each slice alone (z, coil, ky, kx)."""
    reference, coils = acquisition.tensor("reference"), acquisition.size("coil")
    fits = reference.ndim == 4 and reference.shape[:2] == (grid.shape[0], coils) and reference.is_complex()
    if not fits or any(m < 8 or m > n for m, n in zip(reference.shape[2:], grid.shape[1:], strict=True)):
        raise InputRefused(
            "E-MRI-04",
            f"The reference is {reference.dtype} of {' x '.join(map(str, reference.shape))}, not complex "
            f"(z, coil, ky, kx) with {grid.shape[0]} slices, {coils} coils and at least 8 x 8 samples.",
            why="Slices measured together are told apart by coil maps of each of them.",
            fix="Store the centre of k-space of every slice alone, frequency zero at index n // 2.",
        )
    require_finite(reference)
    return reference.to(acquisition.data.device)
