"""Noise of k-space: how much, and the likelihood that knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from medldm.data import Acquisition, object_mean
from medldm.inference import Gaussian, Likelihood, measurement_noise
from medldm.operators import LinearOperator
from medldm_mri.kspace import measured_kspace


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
        """The likelihood of a measurement; samples that its mask leaves out are no degrees of freedom.

        Raises:
            UsageError: E-LIK-09 when the noise is neither known nor given.
            InputRefused: those of :func:`medldm_mri.kspace.measured_kspace`.
        """
        kspace, mask = measured_kspace(acquisition)
        return Gaussian(operator, kspace, measurement_noise(acquisition, self.std), sampled=mask)
