"""``W/2 |A u - y|^2`` with a diagonal W, and all that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from torch import Tensor

from medldm.inference.capabilities import Preconditioners
from medldm.inference.likelihood import QuadraticTerm
from medldm.inference.proximal import preconditioners, solve_normal_equations
from medldm.inference.units import projected_offset, scaled
from medldm.operators import LinearOperator


@dataclass(frozen=True, eq=False)
class WeightedLeastSquares:
    """The energy ``sum W |A u - y|^2 / 2``; where ``W`` comes from is for who inherits to say.

    Attributes:
        operator: ``A``, image ``(z, y, x)`` to measurement.
        measurement: ``y``, of the operator's codomain.
    """

    operator: LinearOperator
    measurement: Tensor

    if TYPE_CHECKING:
        # A field of one likelihood and computed by another: nothing of that name may stand here when they are made.
        @property
        def weights(self) -> Tensor:
            """``W``, inverse variance per real component, zero or positive, broadcastable to the measurement."""

    @property
    def components(self) -> Tensor:
        """Real components of each sample that have a weight: 0, 1 or 2; broadcastable to the measurement."""
        return (2 if self.measurement.is_complex() else 1) * (self.weights > 0).long()

    @cached_property
    def degrees_of_freedom(self) -> int:
        """Number of real components that were measured."""
        return int(self.components.expand(self.measurement.shape).sum())

    def misfit(self, u: Tensor) -> Tensor:
        """``W |A u - y|^2``, see :class:`medldm.inference.HasMisfit`."""
        return (self.operator(u) - self.measurement).abs().square() * self.weights

    def energy(self, u: Tensor) -> Tensor:
        """See :class:`medldm.inference.Likelihood`, as for the methods below."""
        return 0.5 * self.misfit(u).sum(self.operator.codomain.dims())

    def gradient(self, u: Tensor) -> Tensor:
        return self.operator.H(self.weights * (self.operator(u) - self.measurement))

    def prox(
        self,
        v: Tensor,
        weight: float,
        *quadratic: QuadraticTerm,
        start: Tensor | None = None,
        iterations: int = 10,
        tolerance: float = 1e-5,
    ) -> Tensor:
        return solve_normal_equations(
            self._data_normal,
            self._backprojected + weight * v,
            weight,
            quadratic,
            dims=len(self.operator.domain.shape),
            preconditioner=self._preconditioner,
            start=start,
            iterations=iterations,
            tolerance=tolerance,
        )

    def measurement_prox(self, v: Tensor, step: Tensor) -> Tensor:
        """``argmin_q  W/2 |q - y|^2 + |q - v|^2 / (2 step)`` sample by sample.

        Args:
            v: ``(*batch, *codomain)``.
            step: positive, broadcastable to ``v``.
        """
        strength = step * self.weights
        # A product with a real reciprocal: division of complex numbers is several times slower.
        return (v + strength * self.measurement).mul_(1 / (1 + strength))

    def perturbation(self, draw: Tensor) -> Tensor:
        """``A^H W^(1/2) n``, see :class:`medldm.inference.HasPerturbation`."""
        return self.operator.H(self.weights.sqrt() * draw)

    def chi(self, u: Tensor) -> Tensor:
        return 2 * self.energy(u) / self.degrees_of_freedom

    def in_units(self, scale: float, offset: float | Tensor) -> Self:
        """The same likelihood of ``x`` where ``u = scale * x + offset``, see :mod:`medldm.inference.units`."""
        shifted = self.measurement - projected_offset(self.operator, offset, self.measurement)
        return replace(self, operator=scaled(self.operator, scale), measurement=shifted)

    def _data_normal(self, u: Tensor) -> Tensor:
        return self.operator.H(self.weights * self.operator(u))

    @cached_property
    def _preconditioner(self) -> Preconditioners | None:
        return preconditioners(self.operator, self.weights)

    @cached_property
    def _backprojected(self) -> Tensor:
        return self.operator.H(self.weights * self.measurement)
