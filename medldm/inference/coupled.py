"""A likelihood whose proximal step also couples neighbouring slices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference.capabilities import HasSurrogate
from medldm.inference.likelihood import Likelihood, QuadraticTerm
from medldm.operators import Diagonal, FiniteDifference, LinearOperator

# Optional abilities of a likelihood that a coupling leaves as they are.
_OF_THE_MEASUREMENT = ("measurement_prox", "perturbation", "misfit", "components", "degrees_of_freedom")


@dataclass(frozen=True)
class SliceCoupling:
    """``tau/2 |D u|^2`` in the proximal step, ``D`` the difference of neighbouring slices in 1/mm, no wrapping ends.

    ``tau = w length_mm^2 f(sigma)`` where ``w`` is the weight of the proximal step and ``sigma = 1 / sqrt(w)`` the
    noise level that it stands for. So against ``w/2 |u - v|^2`` the coupling is a low-pass along the stack,
    ``1 / (1 + f length_mm^2 k^2)``, whatever the noise; and ``f = sigma^2 / (sigma^2 + half_at^2)`` lets it vanish with
    the noise: the last steps do not smooth.

    Attributes:
        kind: ``quadratic``; or ``tv``, which spares edges: each difference is weighed by
            ``edge / max(|D v|, edge)`` of the point ``v`` of the step. That is one step of majorise-minimise for the
            total variation along the stack, smoothed below ``edge`` (Huber), and needs no memory.
        length_mm: over which slices are smoothed.
        half_at: noise level, in units of the solver's image, at which the coupling has half its strength.
        edge: ``tv`` only: difference per mm, in units of the solver's image, from which on a step is an edge.
    """

    kind: Literal["quadratic", "tv"] = "quadratic"
    length_mm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    half_at: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    edge: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.02

    def fading(self, sigma: float) -> float:
        """``f(sigma)``, from 0 at no noise to 1."""
        return sigma**2 / (sigma**2 + self.half_at**2)

    def strength(self, weight: float) -> float:
        """``tau`` in mm^2 of a proximal step of this weight."""
        # w f(1 / sqrt(w)), also for w = 0.
        return self.length_mm**2 * weight / (1 + weight * self.half_at**2)

    def term(self, difference: FiniteDifference, v: Tensor, weight: float) -> QuadraticTerm:
        """What the proximal step at ``v`` = (*batch, z, y, x) is given."""
        tau = self.strength(weight)
        if self.kind == "quadratic":
            return QuadraticTerm(difference, tau)
        steps = difference(v).abs()
        # A weight for each sample: they stand in the batch axes in front, and the samples stay apart.
        root = (self.edge / steps.clamp(min=self.edge)).sqrt()
        return QuadraticTerm(Diagonal(difference.codomain, root) @ difference, tau, alike=difference)


@dataclass(frozen=True, eq=False)
class Coupled:
    """A likelihood with a :class:`SliceCoupling` in its ``prox``; energy, gradient and chi are the likelihood's own.

    What the likelihood can do besides with its measurement is passed on (``_OF_THE_MEASUREMENT``); a surrogate is
    coupled too. The coupling takes no part in a ``perturbation``, whose covariance is that of the data term.

    Attributes:
        likelihood: of the measurement.
        coupling: of the slices.
        difference: along the stack of slices, of the likelihood's image.
    """

    likelihood: Likelihood
    coupling: SliceCoupling
    difference: FiniteDifference

    def __post_init__(self) -> None:
        inner = self.likelihood
        passed = {name: getattr(inner, name) for name in _OF_THE_MEASUREMENT if hasattr(inner, name)}
        if isinstance(inner, HasSurrogate):
            passed["surrogate"] = lambda: replace(self, likelihood=inner.surrogate())
        # On the instance, where protocols look for what an object can do.
        for name, value in passed.items():
            object.__setattr__(self, name, value)

    @classmethod
    def along(cls, likelihood: Likelihood, coupling: SliceCoupling, axis: int, spacing: tuple[float, ...]) -> Coupled:
        """Couple the slices of an image (z, y, x).

        Args:
            likelihood: of the measurement.
            coupling: of the slices.
            axis: 0, 1 or 2, across which the slices lie.
            spacing: of the voxels along z, y and x in mm.
        """
        domain = likelihood.operator.domain
        return cls(likelihood, coupling, FiniteDifference(domain, spacing, along=(domain.axes[axis],)))

    @property
    def operator(self) -> LinearOperator:
        """``A``."""
        return self.likelihood.operator

    @property
    def measurement(self) -> Tensor:
        """``y``."""
        return self.likelihood.measurement

    @property
    def weights(self) -> Tensor:
        """See :class:`medldm.inference.Likelihood`."""
        return self.likelihood.weights

    def energy(self, u: Tensor) -> Tensor:
        """Of the measurement alone."""
        return self.likelihood.energy(u)

    def gradient(self, u: Tensor) -> Tensor:
        """Of the measurement alone."""
        return self.likelihood.gradient(u)

    def chi(self, u: Tensor) -> Tensor:
        """Of the measurement alone."""
        return self.likelihood.chi(u)

    def prox(
        self,
        v: Tensor,
        weight: float,
        *quadratic: QuadraticTerm,
        start: Tensor | None = None,
        iterations: int = 10,
        tolerance: float = 1e-5,
    ) -> Tensor:
        """The likelihood's, with the coupling as one more term of the same linear system."""
        if self.coupling.strength(weight) > 0:
            with torch.no_grad():
                quadratic = (*quadratic, self.coupling.term(self.difference, v, weight))
        return self.likelihood.prox(v, weight, *quadratic, start=start, iterations=iterations, tolerance=tolerance)
