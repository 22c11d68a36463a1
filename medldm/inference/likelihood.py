"""What a likelihood is: energy, gradient and proximal step of ``-log p(y | u)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from medldm.operators import LinearOperator


@dataclass(frozen=True, eq=False)
class QuadraticTerm:
    """``weight / 2 |L u|^2`` added to a proximal step, e.g. the coupling of slices with L = d/dz."""

    operator: LinearOperator
    weight: float


@runtime_checkable
class Likelihood(Protocol):
    """``p(y | u)`` of a measurement given an image ``u`` = (*batch, z, y, x).

    The noise convention is the design's: a standard deviation is per real component, so Gaussian noise on complex
    data has the energy ``sum |A u - y|^2 / (2 std^2)`` over complex samples.
    """

    operator: LinearOperator
    measurement: Tensor

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
