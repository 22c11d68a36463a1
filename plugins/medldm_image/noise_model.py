"""Noise of an image, real or complex: how much, and the likelihood that knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic
import torch
from torch import Tensor

from medldm.data import Acquisition, Volume, object_mean
from medldm.errors import InputRefused, UsageError
from medldm.inference import Gaussian, Likelihood, measurement_noise
from medldm.operators import LinearOperator


@dataclass(frozen=True)
class NoiseOptions:
    """White Gaussian noise.

    Attributes:
        std: standard deviation **per real component**, in multiples of ``of``.
        of: ``object-mean``, the mean magnitude inside the object (magnitude above a tenth of its 99th percentile; not
            for HU, whose zero is water); ``range``, the maximum minus the minimum of real and the maximum magnitude of
            complex images; ``absolute``, the unit of the image.
    """

    std: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.01
    of: Literal["object-mean", "range", "absolute"] = "range"

    def level(self, volume: Volume) -> float:
        """The standard deviation in units of the volume.

        Raises:
            UsageError: E-IMG-01 for a mean in HU.
            InputRefused: E-IMG-02 for an image without an object or contrast to measure the noise by.
        """
        if self.of == "absolute":
            return self.std
        if self.of == "object-mean" and volume.quantity == "HU":
            raise UsageError(
                "E-IMG-01",
                "The noise is given relative to the object's mean, but the image is in HU.",
                why="0 HU is water and -1000 HU is air, so a mean says nothing about the signal.",
                fix="Give it in HU: --set acquisition.noise.of=absolute --set acquisition.noise.std=20",
            )
        scale = object_mean(volume.data) if self.of == "object-mean" else _range(volume.data)
        if self.std > 0 and not scale > 0:
            raise InputRefused(
                "E-IMG-02",
                "The image is constant, so noise relative to it has no size.",
                fix="Give the noise in units of the image: --set acquisition.noise.of=absolute",
            )
        return self.std * scale


def _range(data: Tensor) -> float:
    return float(data.abs().max() if data.is_complex() else data.max() - data.min())


@dataclass(frozen=True)
class GaussianNoise:
    """The noise model of the reconstruction; called with a measurement it gives the likelihood.

    A physics holds it as its field ``likelihood``, so that the option and the method of the protocol are one.

    Attributes:
        name: ``gaussian``.
        std: ``acquisition``, as it was measured or simulated, or a number in units of the measurement.
    """

    name: Literal["gaussian"] = "gaussian"
    std: Literal["acquisition"] | Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = "acquisition"

    def __call__(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        """The likelihood of a measurement.

        Raises:
            UsageError: E-LIK-09 when the noise is neither known nor given.
        """
        return Gaussian(operator, acquisition.data, measurement_noise(acquisition, self.std))


def noisy(data: Tensor, noise: Tensor) -> Tensor:
    """``data + noise`` on the device of the data."""
    return torch.add(data, noise.to(data.device))
