"""What a likelihood is: energy, gradient and proximal step of ``-log p(y | u)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from medldm.errors import InputRefused
from medldm.operators import LinearOperator


@dataclass(frozen=True, eq=False)
class QuadraticTerm:
    """``weight / 2 |L u|^2`` added to a proximal step, e.g. the coupling of slices with L = d/dz.

    Attributes:
        operator: ``L``.
        weight: of the term.
        alike: where ``L`` differs from sample to sample, an operator near it that does not: a preconditioner is one for
            all samples, and no sample may depend on which others it is solved with. None where it is ``L``.
    """

    operator: LinearOperator
    weight: float
    alike: LinearOperator | None = None


@runtime_checkable
class Likelihood(Protocol):
    """``p(y | u)`` of a measurement given an image ``u`` = (*batch, z, y, x).

    The noise convention is the design's: a standard deviation is per real component, so Gaussian noise on complex
    data has the energy ``sum |A u - y|^2 / (2 std^2)`` over complex samples.
    """

    @property
    def operator(self) -> LinearOperator:
        """``A``, image ``(z, y, x)`` to measurement."""
        ...

    @property
    def measurement(self) -> Tensor:
        """``y``, of the operator's codomain."""
        ...

    def energy(self, u: Tensor) -> Tensor:
        """``-log p(y | u)`` up to a constant, one number per batch item."""
        ...

    def gradient(self, u: Tensor) -> Tensor:
        """Gradient of the energy; for complex ``u``, d/d Re + i d/d Im."""
        ...

    def prox(
        self,
        v: Tensor,
        weight: float,
        *quadratic: QuadraticTerm,
        start: Tensor | None = None,
        iterations: int = 10,
        tolerance: float = 1e-5,
    ) -> Tensor:
        """``argmin_u energy(u) + weight/2 |u - v|^2 + sum_i w_i/2 |L_i u|^2``."""
        ...

    def chi(self, u: Tensor) -> Tensor:
        """Weighted squared residual per degree of freedom; about 1 for a posterior sample."""
        ...

    @property
    def weights(self) -> Tensor:
        """Diagonal of the inverse noise covariance, broadcastable to the measurement.

        For a non-quadratic likelihood the Fisher information at the measurement: solvers of weighted least squares
        and step sizes may rely on it.
        """
        ...


def check_measurement(operator: LinearOperator, measurement: Tensor, **companions: float | Tensor | None) -> None:
    """Refuse a measurement that the operator cannot explain, or companions (std, weights) that do not broadcast to it.

    Args:
        operator: image to measurement.
        measurement: what was measured.
        companions: named numbers or tensors that must broadcast to the measurement; None is skipped.
    """
    try:
        operator.codomain.check(measurement, "the likelihood")
        for name, value in companions.items():
            shape = () if value is None else torch.as_tensor(value).shape
            if torch.broadcast_shapes(shape, measurement.shape) != measurement.shape:
                raise ValueError(f"{name} of shape {tuple(shape)} does not broadcast to {tuple(measurement.shape)}")
    except (ValueError, RuntimeError) as error:
        raise InputRefused(
            "E-LIK-03",
            f"The measurement does not fit its operator {operator.name}: {error}.",
            why="A likelihood compares the measurement with what the operator predicts, sample by sample.",
            fix="Check the axes and sizes of the measurement and of its noise.",
        ) from error
    if not bool(torch.isfinite(measurement).all()):
        raise InputRefused(
            "E-LIK-04",
            "The measurement contains NaN or infinity.",
            why="One such sample would spoil the whole image.",
            fix="Repair the samples, or set them to zero and give them zero weight.",
        )
