"""Noise of k-space: how much, and the likelihood that knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from medldm.data import Acquisition
from medldm.errors import UsageError
from medldm.inference import Gaussian, Likelihood
from medldm.operators import LinearOperator
from medldm_mri.kspace import checked_mask

# A voxel belongs to the object when its magnitude is above this part of the 99th percentile.
OBJECT_THRESHOLD = 0.1


@dataclass(frozen=True)
class KSpaceNoise:
    """White Gaussian noise of the simulated measurement.

    Attributes:
        std: standard deviation **per real component** of a k-space sample, in multiples of ``of``. The Fourier
            transform is orthonormal, so it is that of each coil image too.
        of: ``object-mean``, the mean magnitude inside the object (magnitude above a tenth of its 99th percentile);
            ``absolute``, the unit of the image.
    """

    std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    of: Literal["object-mean", "absolute"] = "object-mean"

    def level(self, image: Tensor) -> float:
        """The standard deviation per real component in units of the image."""
        return self.std * (object_mean(image) if self.of == "object-mean" else 1.0)


def object_mean(image: Tensor) -> float:
    """Mean magnitude of the voxels above a tenth of the 99th percentile; 0 for an empty image."""
    magnitude = image.abs().flatten()
    # Selection instead of torch.quantile, which refuses large volumes.
    high = magnitude.kthvalue(max(1, round(0.99 * magnitude.numel()))).values
    inside = magnitude[magnitude > OBJECT_THRESHOLD * high]
    return float(inside.double().mean()) if inside.numel() else 0.0


@dataclass(frozen=True)
class GaussianKSpace:
    """The noise model of the reconstruction; called with a measurement it gives the likelihood.

    The physics holds it as its field ``likelihood``, so that the option and the method of the protocol are one.

    Attributes:
        name: ``gaussian``.
        std: per real component; ``acquisition``, as it was measured or simulated, or a number in units of k-space.
    """

    name: Literal["gaussian"] = "gaussian"
    std: Literal["acquisition"] | Annotated[float, Field(ge=0, allow_inf_nan=False)] = "acquisition"

    def __call__(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        """The likelihood of a measurement; samples outside the mask are no degrees of freedom.

        Raises:
            UsageError: E-MRI-07 when the noise is neither known nor given.
        """
        std = acquisition.noise_std if self.std == "acquisition" else self.std
        if std is None:
            raise UsageError(
                "E-MRI-07",
                "The noise of the k-space is not known.",
                why="Without it data and prior cannot be weighed against each other.",
                fix="State it per real component, in units of k-space: --set likelihood.std=12.5",
            )
        return Gaussian(operator, acquisition.data, float(std), sampled=checked_mask(acquisition))
