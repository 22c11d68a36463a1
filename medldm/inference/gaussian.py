"""Gaussian noise with known standard deviation: k-space, and any linear measurement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from medldm.errors import InputRefused, UsageError
from medldm.inference.capabilities import Preconditioners
from medldm.inference.likelihood import QuadraticTerm, check_measurement
from medldm.inference.proximal import preconditioners, solve_normal_equations
from medldm.inference.units import projected_offset, scaled
from medldm.operators import LinearOperator


@dataclass(frozen=True, eq=False)
class Gaussian:
    """``y = A u + n``, ``n`` white with a standard deviation per real component.

    The energy is ``sum |A u - y|^2 / (2 std^2)`` over samples. A complex sample has two real components and so
    counts two degrees of freedom.

    Attributes:
        operator: ``A``, image ``(z, y, x)`` to measurement.
        measurement: ``y``, of the operator's codomain.
        std: standard deviation **per real component** in units of ``y``; a number, or a tensor that broadcasts to
            ``y`` (coils of different noise). Zero means noise-free data: there is no energy then, but solvers of
            least squares run on ``operator`` and ``measurement``.
        sampled: 1 where ``y`` was measured and 0 elsewhere, broadcastable to ``y``; None when all of it was.
            The operator gives zero where it is 0, as a masked acquisition does, so it matters only for the count
            of degrees of freedom. To leave measured samples out use :class:`WeightedGaussian` with zero weights.
    """

    operator: LinearOperator
    measurement: Tensor
    std: float | Tensor
    sampled: Tensor | None = None

    def __post_init__(self) -> None:
        check_measurement(self.operator, self.measurement, std=self.std, sampled=self.sampled)
        std = torch.as_tensor(self.std)
        if not bool((std >= 0).all()):
            raise InputRefused(
                "E-LIK-02",
                "The noise standard deviation is negative or not a number.",
                why="A standard deviation per real component is zero or positive.",
                fix="Correct the noise of the acquisition or of the recipe.",
            )

    @property
    def noise_free(self) -> bool:
        """Whether some sample is stated to have no noise at all."""
        return not bool((torch.as_tensor(self.std) > 0).all())

    @cached_property
    def weights(self) -> Tensor:
        """``1 / std^2`` (zero where nothing was sampled), broadcastable to the measurement."""
        if self.noise_free:
            raise UsageError(
                "E-LIK-01",
                "The noise standard deviation is zero, so the likelihood has no finite energy.",
                why="Noise-free data cannot be weighed against a prior.",
                fix="State the noise of the acquisition, or choose a solver of plain least squares (cgls, cg-sense).",
            )
        real = self.measurement.real if self.measurement.is_complex() else self.measurement
        weights = torch.as_tensor(self.std, dtype=real.dtype, device=real.device) ** -2
        return weights if self.sampled is None else weights * self.sampled.to(weights)

    @property
    def components(self) -> Tensor:
        """Real components of each sample that were measured: 0, 1 or 2; broadcastable to the measurement."""
        number = 2 if self.measurement.is_complex() else 1
        if self.sampled is None:
            return torch.tensor(number, device=self.measurement.device)
        return number * (self.sampled != 0).long()

    @cached_property
    def degrees_of_freedom(self) -> int:
        """Number of real components that were measured."""
        return int(self.components.expand(self.measurement.shape).sum())

    def misfit(self, u: Tensor) -> Tensor:
        """``W |A u - y|^2``, see :class:`medldm.inference.HasMisfit`."""
        return (self.operator(u) - self.measurement).abs().square() * self.weights

    def energy(self, u: Tensor) -> Tensor:
        return 0.5 * self.misfit(u).sum(self.operator.codomain.dims())

    def gradient(self, u: Tensor) -> Tensor:
        return self._data_normal(u) - self._backprojected

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
        """``argmin_q  W/2 |q - y|^2 + |q - v|^2 / (2 step)`` sample by sample; ``y`` itself for noise-free data.

        Args:
            v: ``(*batch, *codomain)``.
            step: positive, broadcastable to ``v``.
        """
        if self.noise_free:
            if self.sampled is None:
                return self.measurement.expand_as(v).clone()
            return torch.where(self.sampled != 0, self.measurement, v)
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

    def _data_normal(self, u: Tensor) -> Tensor:
        weights = self.weights
        if torch.as_tensor(self.std).numel() == 1:
            # One weight for all that the operator gives: its own, possibly much cheaper, gram serves.
            return self.operator.gram(u) * float(weights.max())
        return self.operator.H(weights * self.operator(u))

    @cached_property
    def _preconditioner(self) -> Preconditioners | None:
        return preconditioners(self.operator, self.weights)

    @cached_property
    def _backprojected(self) -> Tensor:
        return self.operator.H(self.weights * self.measurement)
