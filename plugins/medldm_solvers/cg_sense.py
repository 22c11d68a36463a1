"""Iterative SENSE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import DiffusionPrior, Likelihood, Noise, Step
from medldm_solvers.linear_data import quadratic, relative_weights
from medldm_solvers.references import CG_SENSE


@dataclass(frozen=True)
class CGSense:
    """``(A^H W A + lam) u = A^H W y`` by conjugate gradients (Pruessmann et al. 2001).

    W is one except for coils or samples of different noise. With normalised coil maps and an orthonormal transform
    ``|A| <= 1``, so ``lam`` is the squared singular value below which directions are damped.

    Attributes:
        lam: weight of the Tikhonov term; zero is plain SENSE, regularised by the number of iterations.
        iterations: of conjugate gradients.
    """

    references: ClassVar[tuple[str, ...]] = (CG_SENSE,)

    lam: Annotated[float, Field(ge=0)] = 0.01
    iterations: Annotated[int, Field(ge=1)] = 30

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield a step per iteration, from zero; the state is ``u, r, p``. ``prior`` and ``noise`` do not matter."""
        data = quadratic(likelihood)
        A, weights = data.operator, relative_weights(data)

        def normal(v: Tensor) -> Tensor:
            return (A.gram(v) if weights is None else A.H(weights * A(v))) + self.lam * v

        def energy(v: Tensor) -> Tensor:
            return A.domain.norm(v).square().reshape(-1, 1, 1, 1)

        if state:
            u, r, p = state["u"], state["r"], state["p"]
        else:
            rhs = A.H(data.measurement if weights is None else weights * data.measurement)  # a = E^H psi^-1 m
            r = rhs.expand(start.shape).clone()
            u, p = torch.zeros_like(r), r
        first = int(state["index"]) + 1 if state else 0
        for k in range(first, self.iterations):
            # Pruessmann et al. 2001, the loop of fig. 1: p, q = E^H E p, then b and r by the step lengths of CG.
            q = normal(p)
            rr = energy(r)
            # <p, q> is real, with the conjugate on p: a product without it is none of a Hilbert space.
            curvature = A.domain.inner(p, q).real.reshape(-1, 1, 1, 1)
            alpha = torch.where(curvature > 0, rr / torch.where(curvature > 0, curvature, 1), 0)
            u = u + alpha * p
            r = r - alpha * q
            beta = torch.where(rr > 0, energy(r) / torch.where(rr > 0, rr, 1), 0)
            p = r + beta * p
            yield Step(k, self.iterations, None, u, u, {"u": u, "r": r, "p": p, "index": torch.tensor(k)})
