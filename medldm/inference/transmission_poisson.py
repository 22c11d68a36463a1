"""Photon counts behind an absorbing object: the likelihood of CT at low dose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from medldm.errors import InputRefused
from medldm.inference.capabilities import Preconditioners
from medldm.inference.likelihood import Likelihood, QuadraticTerm, check_measurement
from medldm.inference.proximal import preconditioners, solve_normal_equations
from medldm.inference.units import projected_offset, scaled
from medldm.inference.weighted_gaussian import WeightedGaussian
from medldm.operators import LinearOperator

_PAPER = (
    "H. Erdogan, J. A. Fessler. Monotonic algorithms for transmission tomography. IEEE Transactions on Medical Imaging "
    "18(9), 801-814, 1999."
)


@dataclass(frozen=True, eq=False)
class TransmissionPoisson:
    """Counts ``n ~ Poisson(lambda)``, ``lambda = I0 exp(-A u) + b`` (Erdogan and Fessler 1999).

    The energy is ``sum lambda - n log lambda`` up to the constant that makes a perfect fit zero. ``chi`` is Pearson's:
    ``sum (n - lambda)^2 / lambda`` per count, of mean 1 at the true image whatever the counts.

    Attributes:
        operator: ``A``, line integrals of the image in 1/mm.
        measurement: ``n``, zero or positive, of the operator's codomain.
        photons: ``I0``, mean photons per bin without an object; positive, broadcastable to the counts.
        background: ``b``, mean counts that did not cross the object (scatter, dark current); zero or positive.
        newton_steps: at most this many outer Gauss-Newton steps in :meth:`prox`.
    """

    references: ClassVar[tuple[str, ...]] = (_PAPER,)

    operator: LinearOperator
    measurement: Tensor
    photons: float | Tensor
    background: float | Tensor = 0.0
    newton_steps: int = 10

    def __post_init__(self) -> None:
        check_measurement(self.operator, self.measurement, photons=self.photons, background=self.background)
        blank, background = torch.as_tensor(self.photons), torch.as_tensor(self.background)
        negative = bool((self.measurement < 0).any()) or not bool((background >= 0).all())
        if negative or not bool((blank > 0).all()):
            raise InputRefused(
                "E-LIK-08",
                "Counts and background must be zero or positive, and the photons per bin positive.",
                why="A Poisson law has no negative counts.",
                fix="Give raw counts in photons, before the logarithm; for others use the weighted Gaussian.",
            )

    def energy(self, u: Tensor) -> Tensor:
        energies = self._sample_energy(self.operator(u))
        return energies.sum(self.operator.codomain.dims())

    def gradient(self, u: Tensor) -> Tensor:
        transmitted, mean = self._means(self.operator(u))
        return self.operator.H(transmitted * (self.measurement / mean - 1))

    def misfit(self, u: Tensor) -> Tensor:
        """``(n - lambda)^2 / lambda``, see :class:`medldm.inference.HasMisfit`."""
        _, mean = self._means(self.operator(u))
        pearson: Tensor = (self.measurement - mean).square() / mean
        return pearson

    def chi(self, u: Tensor) -> Tensor:
        return self.misfit(u).sum(self.operator.codomain.dims()) / self.degrees_of_freedom

    @property
    def components(self) -> Tensor:
        """One for each count."""
        return torch.ones((), dtype=torch.long, device=self.measurement.device)

    @property
    def degrees_of_freedom(self) -> int:
        """Number of counts."""
        return self.measurement.numel()

    @cached_property
    def weights(self) -> Tensor:
        """Fisher information of the line integrals ``t^2 / (t + b)`` at ``t = n - b``, at least one photon."""
        transmitted = (self.measurement - self.background).clamp(min=WeightedGaussian.COUNT_FLOOR)
        return transmitted.square() / (transmitted + self.background)

    def surrogate(self) -> Likelihood:
        """The post-log weighted Gaussian of the same counts, background subtracted."""
        transmitted = (self.measurement - self.background).clamp(min=WeightedGaussian.COUNT_FLOOR)
        return WeightedGaussian(self.operator, torch.log(self.photons / transmitted), self.weights)

    def prox(
        self,
        v: Tensor,
        weight: float,
        *quadratic: QuadraticTerm,
        start: Tensor | None = None,
        iterations: int = 10,
        tolerance: float = 1e-5,
    ) -> Tensor:
        """As the protocol, by Gauss-Newton: each step is one conjugate-gradient solve and a halving line search.

        ``iterations`` and ``tolerance`` hold for each inner solve; the outer loop ends once every batch item's step is
        below ``tolerance`` of its image.
        """
        dims = self.operator.domain.dims()
        u = v.clone() if start is None else start.clone()

        def objective(image: Tensor, projected: Tensor) -> Tensor:
            # float64: near the minimum the decrease is far below what single precision resolves.
            total = self._sample_energy(projected.double()).sum(self.operator.codomain.dims())
            total = total + 0.5 * weight * (image - v).square().sum(dims, dtype=torch.float64)
            for term in quadratic:
                applied = term.operator(image)
                total = total + 0.5 * term.weight * applied.square().sum(
                    term.operator.codomain.dims(), dtype=torch.float64
                )
            return total

        projected = self.operator(u)
        value = objective(u, projected)
        for _ in range(self.newton_steps):
            transmitted, mean = self._means(projected)
            # Where the fit is far too absorbing the Fisher information at u vanishes and Newton overshoots by orders of
            # magnitude; the information at the measurement bounds it. At the minimum the two agree up to noise.
            curvature = torch.maximum(transmitted.square() / mean, self.weights)
            slope = self.operator.H(transmitted * (self.measurement / mean - 1)) + weight * (u - v)
            for term in quadratic:
                slope = slope + term.weight * term.operator.gram(u)
            step = solve_normal_equations(
                lambda d, curvature=curvature: self.operator.H(curvature * self.operator(d)),  # type: ignore[misc]
                -slope,
                weight,
                quadratic,
                dims=len(dims),
                preconditioner=self._preconditioner,
                start=None,
                iterations=iterations,
                tolerance=tolerance,
            )
            along = self.operator(step)
            length = torch.ones_like(value)
            for _ in range(_HALVINGS):
                trial = objective(u + _lift(length, u) * step, projected + _lift(length, projected) * along)
                worse = trial > value
                if not bool(worse.any()):
                    break
                length = torch.where(worse, length / 2, length)
            length = torch.where(trial > value, torch.zeros_like(length), length)
            u = u + _lift(length, u) * step
            projected = projected + _lift(length, projected) * along
            value = objective(u, projected)
            moved = self.operator.domain.norm(step) * length.to(step.dtype)
            if bool((moved <= tolerance * self.operator.domain.norm(u)).all()):
                break
        return u

    def measurement_prox(self, v: Tensor, step: Tensor) -> Tensor:
        """``argmin_q  lambda(q) - n log lambda(q) + |q - v|^2 / (2 step)`` sample by sample.

        The slope in ``q`` is increasing and concave, so Newton's iteration from the left of the minimum approaches it
        without overshooting, and one step from the right leads to the left; the bound below keeps that one short.

        Args:
            v: line integrals ``(*batch, *codomain)``.
            step: positive, broadcastable to ``v``.
        """
        fitted = torch.log(self.photons / (self.measurement - self.background).clamp(min=WeightedGaussian.COUNT_FLOOR))
        # The minimum lies between v and the integral that explains the count; the post-log quadratic is close to it.
        lowest = torch.minimum(v, fitted)
        scaled = step * self.weights
        q = (v + scaled * fitted) / (1 + scaled)
        for _ in range(_SCALAR_NEWTON):
            transmitted, mean = self._means(q)
            slope = transmitted * (self.measurement / mean - 1) + (q - v) / step
            # The exact curvature is negative where counts are hidden in the background; Fisher's never is.
            exact = transmitted * (1 - self.measurement * self.background / mean.square())
            curvature = torch.where(exact > 0, exact, transmitted.square() / mean)
            before, q = q, torch.maximum(q - slope / (curvature + 1 / step), lowest)
            if bool(torch.allclose(q, before, rtol=1e-6, atol=1e-6)):
                break
        return q

    def in_units(self, scale: float, offset: float | Tensor) -> Self:
        """The same likelihood of ``x`` where ``u = scale * x + offset``, see :mod:`medldm.inference.units`.

        ``I0 exp(-A u) = (I0 exp(-A offset)) exp(-scale A x)``: the offset absorbs the beam before the object does,
        and the counts stay what they are.
        """
        blank = self.photons * torch.exp(-projected_offset(self.operator, offset, self.measurement))
        return replace(self, operator=scaled(self.operator, scale), photons=blank)

    @cached_property
    def _preconditioner(self) -> Preconditioners | None:
        # Of the information at the measurement, which the curvature comes to at the minimum.
        return preconditioners(self.operator, self.weights)

    def _means(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """``(I0 exp(-p), lambda)``; the floor keeps ``n / lambda`` finite behind a wall of metal."""
        transmitted = self.photons * torch.exp(-projected.clamp(-_EXPONENT, _EXPONENT))
        return transmitted, (transmitted + self.background).clamp(min=torch.finfo(projected.dtype).tiny)

    def _sample_energy(self, projected: Tensor) -> Tensor:
        _, mean = self._means(projected)
        n = self.measurement
        energy: Tensor = mean - n + torch.special.xlogy(n, n) - torch.special.xlogy(n, mean)
        return energy


_HALVINGS = 20
_SCALAR_NEWTON = 12
_EXPONENT = 60.0


def _lift(scalars: Tensor, like: Tensor) -> Tensor:
    """Per-item numbers with as many axes as ``like``."""
    return scalars.to(like.dtype).reshape(scalars.shape + (1,) * (like.ndim - scalars.ndim))
