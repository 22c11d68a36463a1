"""Thick slices: what a scanner with a wide slice profile measures of a finely sampled volume."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, cast

import numpy as np
import pydantic
import torch
from torch import Tensor

from medldm.data import Acquisition, AffineMap, Grid, Volume
from medldm.errors import InputRefused, UsageError
from medldm.inference import Noise
from medldm.operators import LinearOperator, Resample
from medldm.operators.resample import axis_matrix
from medldm_image.from_grid import brought_to, on_grid
from medldm_image.noise_model import GaussianNoise, NoiseOptions, noisy
from medldm_image.slice_profile import Profile, SliceProfile, profile_matrix, slice_positions

_Millimetre = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
_PAPER = (
    "H. Greenspan, G. Oz, N. Kiryati, S. Peled. MRI inter-slice reconstruction using super-resolution. Magnetic "
    "Resonance Imaging 20(5), 437-446, 2002."
)


def _finer_along_z(grid: Grid, factor: int) -> Grid:
    """The same stack in thinner slices: same edges, ``factor`` slices for each one."""
    affine = grid.affine.copy()
    affine[:3, 0] /= factor
    affine[:3, 3] = grid.world(((1 / factor - 1) / 2, 0, 0))
    return Grid((grid.shape[0] * factor, *grid.shape[1:]), affine, grid.axes)


@dataclass(frozen=True)
class ThickSlicePhysics:
    """``y = P x + n``: each thick slice is the mean of the thin ones under its profile; ``x`` real or complex.

    The options describe what ``simulate`` does. A measurement carries its own geometry, and ``operator`` takes it from
    there.

    Attributes:
        slice_mm: thickness of the slices in mm; of a Gaussian profile the full width at half maximum.
        spacing_mm: distance of their centres in mm; None makes them contiguous, less than ``slice_mm`` overlapping.
        profile: ``box`` or ``gaussian``.
        oversample: the volume is interpolated to slices this many times thinner before it is measured, while the
            operator takes its slices as constant over their thickness, so that simulation and reconstruction do not
            share their model. 1 shares it (an inverse crime), and the history says so.
        noise: added by ``simulate``.
        likelihood: of the reconstruction.
    """

    references: ClassVar[tuple[str, ...]] = (_PAPER,)

    slice_mm: _Millimetre = 5.0
    spacing_mm: _Millimetre | None = None
    profile: Profile = "box"
    oversample: Annotated[int, pydantic.Field(ge=1, le=8)] = 2
    noise: NoiseOptions = field(default_factory=NoiseOptions)
    likelihood: GaussianNoise = field(default_factory=GaussianNoise)

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Thick slices of the volume with noise, axes (slice, y, x), centred on the stack.

        Raises:
            UsageError: E-IMG-04 for slices thinner than the volume's, E-IMG-05 for ones thicker than the stack.
        """
        grid = volume.grid
        self._require_thick(grid)
        increment = self.spacing_mm or self.slice_mm
        positions = slice_positions(grid.shape[0], grid.spacing[0], increment)
        fine = _finer_along_z(grid, self.oversample)
        # Positions count from the first slice's centre, which lies further out in the finer stack.
        shift = (grid.spacing[0] - fine.spacing[0]) / 2
        matrix = profile_matrix(positions + shift, fine.shape[0], fine.spacing[0], self.slice_mm, self.profile)
        profile = SliceProfile(matrix, _plane(grid), volume.data.dtype)
        data = volume.data
        if self.oversample > 1:
            data = Resample(grid, fine, dtype=data.dtype).to(data.device)(data)
        thick = profile.to(data.device)(data)
        std = self.noise.level(volume)
        drawn = noise.normal(tuple(thick.shape), thick.dtype, "measurement", std=std)
        return Acquisition(
            physics="thick-slice",
            data=noisy(thick, drawn),
            axes=("slice", "y", "x"),
            grid=grid,
            quantity=volume.quantity,
            modality=volume.modality,
            output=AffineMap.identity(volume.quantity),
            tensors={"positions": torch.from_numpy(positions)},
            settings={"slice_mm": self.slice_mm, "spacing_mm": increment, "profile": self.profile},
            noise_std=std,
            simulated=True,
            name=volume.name,
            history=volume.history.then(
                "simulate",
                physics="thick-slice",
                slice_mm=self.slice_mm,
                spacing_mm=increment,
                profile=self.profile,
                oversample=self.oversample,
                inverse_crime=self.oversample == 1,
                noise_std=std,
            ),
            source=volume.source,
        )

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """The slice profile of the acquisition, after resampling where ``grid`` is not the acquisition's.

        The tensor ``positions`` holds the centres of the slices in mm along z from the centre of the first slice of
        ``acquisition.grid``.

        Raises:
            InputRefused: E-IMG-06 when the measurement does not fit its own description.
        """
        native = acquisition.grid
        positions = acquisition.tensor("positions").double().cpu().numpy()
        thickness, profile = _described(acquisition, positions)
        matrix = profile_matrix(positions, native.shape[0], native.spacing[0], thickness, profile)
        return on_grid(SliceProfile(matrix, _plane(native), acquisition.data.dtype), grid, native)

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """The thick slices interpolated linearly along z, the outermost ones repeated."""
        native = acquisition.grid
        positions = acquisition.tensor("positions").double().cpu().numpy()
        thin = np.arange(native.shape[0]) * native.spacing[0]
        between = np.interp(thin, positions, np.arange(len(positions), dtype=np.float64))
        matrix = axis_matrix(between, len(positions), 0.0, "clamp")
        interpolation = SliceProfile(matrix, _plane(native), acquisition.data.dtype).to(acquisition.data.device)
        return brought_to(operator, interpolation(acquisition.data))

    def _require_thick(self, grid: Grid) -> None:
        thin, extent = grid.spacing[0], grid.shape[0] * grid.spacing[0]
        if self.slice_mm < thin * (1 - 1e-3):
            raise UsageError(
                "E-IMG-04",
                f"Slices of {self.slice_mm:g} mm are thinner than the volume's, which are {thin:.4g} mm apart.",
                why="The volume does not hold what such a slice would show.",
                fix="Ask for thicker slices: --set acquisition.slice_mm=...",
            )
        if max(self.slice_mm, self.spacing_mm or 0) > extent:
            raise UsageError(
                "E-IMG-05",
                f"The volume is {extent:.4g} mm thick, less than one slice of {self.slice_mm:g} mm "
                f"every {self.spacing_mm or self.slice_mm:g} mm.",
                fix="Ask for thinner slices, or take more slices of the volume.",
            )


def _plane(grid: Grid) -> tuple[int, int]:
    return grid.shape[1], grid.shape[2]


def _described(acquisition: Acquisition, positions: np.ndarray) -> tuple[float, Profile]:
    """Thickness and profile of a measurement, checked."""
    grid, settings = acquisition.grid, acquisition.settings
    thickness, profile = settings.get("slice_mm"), settings.get("profile")
    sizes = dict(zip(acquisition.axes, acquisition.data.shape, strict=True))
    extent = (grid.shape[0] - 0.5) * grid.spacing[0]
    fits = (
        acquisition.axes == ("slice", "y", "x")
        and tuple(acquisition.data.shape) == (len(positions), *_plane(grid))
        and isinstance(thickness, (int, float))
        and thickness > 0
        and profile in ("box", "gaussian")
        and bool((np.diff(positions) > 0).all())
        and bool(((positions > -grid.spacing[0] / 2) & (positions < extent)).all())
    )
    if not fits:
        raise InputRefused(
            "E-IMG-06",
            f"The thick slices ({sizes}, slice_mm {thickness}, "
            f"profile {profile}) do not fit their positions or the image grid {grid.shape}.",
            why="A slice whose place or profile is not known explains nothing.",
            fix="Store increasing positions within the image, slice_mm in mm and profile box or gaussian.",
        )
    return float(cast(float, thickness)), cast(Profile, profile)
