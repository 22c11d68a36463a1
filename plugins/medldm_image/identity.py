"""Denoising: the measurement is the image itself with noise."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from medldm.data import Acquisition, AffineMap, Grid, Volume
from medldm.inference import Noise
from medldm.operators import Identity, LinearOperator, Space
from medldm_image.from_grid import brought_to, on_grid
from medldm_image.noise_model import GaussianNoise, NoiseOptions, noisy


@dataclass(frozen=True)
class IdentityPhysics:
    """``y = x + n`` with white Gaussian noise ``n``; ``x`` real or complex.

    On another grid than the measurement's, ``y = R x + n`` with linear interpolation ``R``.

    Attributes:
        noise: added by ``simulate``.
        likelihood: of the reconstruction.
    """

    noise: NoiseOptions = field(default_factory=NoiseOptions)
    likelihood: GaussianNoise = field(default_factory=GaussianNoise)

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """The volume with noise, in the volume's unit, axes (z, y, x)."""
        std = self.noise.level(volume)
        drawn = noise.normal(tuple(volume.data.shape), volume.data.dtype, "measurement", std=std)
        return Acquisition(
            physics="identity",
            data=noisy(volume.data, drawn),
            axes=("z", "y", "x"),
            grid=volume.grid,
            quantity=volume.quantity,
            modality=volume.modality,
            output=AffineMap.identity(volume.quantity),
            noise_std=std,
            simulated=True,
            name=volume.name,
            history=volume.history.then("simulate", physics="identity", noise_std=std),
            source=volume.source,
        )

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """The identity, or the resampling onto the measurement's grid."""
        native = acquisition.grid
        return on_grid(Identity(Space(("z", "y", "x"), native.shape, acquisition.data.dtype)), grid, native)

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """The measurement itself."""
        return brought_to(operator, acquisition.data)
