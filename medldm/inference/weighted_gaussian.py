"""Gaussian noise with a weight per sample: post-log CT, and any measurement with a known diagonal covariance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from medldm.errors import InputRefused
from medldm.inference.capabilities import Preconditioners
from medldm.inference.likelihood import QuadraticTerm, check_measurement
from medldm.inference.proximal import preconditioners, solve_normal_equations
from medldm.inference.units import projected_offset, scaled
from medldm.operators import LinearOperator

_PAPER = (
    "K. Sauer, C. Bouman. A local update strategy for iterative reconstruction from projections. IEEE Transactions on "
    "Signal Processing 41(2), 534-548, 1993."
)


@dataclass(frozen=True, eq=False)
class WeightedGaussian:
    """``y = A u + n`` with independent noise of inverse variance ``weights`` per real component.

    The energy is ``sum W |A u - y|^2 / 2``. Samples of zero weight take no part and are no degrees of freedom.

    Attributes:
        operator: ``A``, image ``(z, y, x)`` to measurement.
        measurement: ``y``, of the operator's codomain; line integrals for CT.
        weights: inverse variance **per real component**, zero or positive, broadcastable to ``y``.
    """

    references: ClassVar[tuple[str, ...]] = (_PAPER,)

    operator: LinearOperator
    measurement: Tensor
    weights: Tensor

    COUNT_FLOOR: ClassVar[float] = 1.0
    """Counts below one photon are taken as one: their logarithm stays finite, their weight stays about one."""

    def __post_init__(self) -> None:
        check_measurement(self.operator, self.measurement, weights=self.weights)
        if not bool((self.weights >= 0).all()) or not bool(torch.isfinite(self.weights).all()):
            raise InputRefused(
                "E-LIK-06",
                "The weights of the measurement are negative, infinite or not a number.",
                why="A weight is an inverse variance: zero or positive, and finite.",
                fix="Correct the weights; give samples that are to be ignored the weight zero.",
            )

    @classmethod
    def from_counts(
        cls, operator: LinearOperator, counts: Tensor, photons: float | Tensor, electronic_variance: float = 0.0
    ) -> Self:
        """Post-log data of photon counts ``N``: ``y = -log(N / I0)``, weights ``N^2 / (N + electronic variance)``.

        The weights are the inverse variances of the logarithm to first order (Sauer and Bouman 1993; with electronic
        noise Thibault et al. 2006). Counts are floored at :attr:`COUNT_FLOOR`.

        Args:
            operator: line integrals of the image in 1/mm (or any unit in which ``A u`` is the exponent).
            counts: detected photons, of the operator's codomain.
            photons: ``I0``, mean photons per bin without an object; broadcastable to ``counts``.
            electronic_variance: of the read-out in squared photons.
        """
        blank = torch.as_tensor(photons, dtype=counts.dtype, device=counts.device)
        if not bool((blank > 0).all()) or not electronic_variance >= 0:
            raise InputRefused(
                "E-LIK-07",
                "The photons per bin must be positive and the electronic variance zero or positive.",
                why="The logarithm and the weights of counts need both.",
                fix="Give the mean count of a scan without an object, in photons.",
            )
        floored = counts.clamp(min=cls.COUNT_FLOOR)
        return cls(operator, torch.log(blank / floored), floored.square() / (floored + electronic_variance))

    @property
    def components(self) -> Tensor:
        """Real components of each sample that have a weight: 0, 1 or 2; broadcastable to the measurement."""
        return (2 if self.measurement.is_complex() else 1) * (self.weights > 0).long()

    @cached_property
    def degrees_of_freedom(self) -> int:
        """Number of real components with a positive weight."""
        return int(self.components.expand(self.measurement.shape).sum())

    def misfit(self, u: Tensor) -> Tensor:
        """``W |A u - y|^2``, see :class:`medldm.inference.HasMisfit`."""
        return (self.operator(u) - self.measurement).abs().square() * self.weights

    def energy(self, u: Tensor) -> Tensor:
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
            lambda u: self.operator.H(self.weights * self.operator(u)),
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
        scaled = step * self.weights
        # A product with a real reciprocal: division of complex numbers is several times slower.
        return (v + scaled * self.measurement).mul_(1 / (1 + scaled))

    def perturbation(self, draw: Tensor) -> Tensor:
        """``A^H W^(1/2) n``, see :class:`medldm.inference.HasPerturbation`."""
        return self.operator.H(self.weights.sqrt() * draw)

    def chi(self, u: Tensor) -> Tensor:
        return 2 * self.energy(u) / self.degrees_of_freedom

    def in_units(self, scale: float, offset: float | Tensor) -> Self:
        """The same likelihood of ``x`` where ``u = scale * x + offset``, see :mod:`medldm.inference.units`."""
        shifted = self.measurement - projected_offset(self.operator, offset, self.measurement)
        return replace(self, operator=scaled(self.operator, scale), measurement=shifted)

    @cached_property
    def _preconditioner(self) -> Preconditioners | None:
        return preconditioners(self.operator, self.weights)

    @cached_property
    def _backprojected(self) -> Tensor:
        return self.operator.H(self.weights * self.measurement)
