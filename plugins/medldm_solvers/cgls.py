"""Least squares by conjugate gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import DiffusionPrior, Likelihood, Noise, Step
from medldm_solvers.linear_data import quadratic, relative_weights
from medldm_solvers.references import BJORCK


@dataclass(frozen=True)
class CGLS:
    """``min sum W |A u - y|^2`` by CGLS (Bjorck 1996, algorithm 7.4.1), regularised by stopping early.

    The residual is carried along, so the normal equations are never formed and their squared condition number costs
    no digits.

    Attributes:
        iterations: fewer give a smoother image; noise grows with their number.
        begin: from zero, so that what the data do not say stays zero, or from the start image.
    """

    references: ClassVar[tuple[str, ...]] = (BJORCK,)

    iterations: Annotated[int, Field(ge=1)] = 12
    begin: Literal["zero", "start"] = "zero"

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield a step per iteration; the state is ``u, r, p, gamma``. ``prior`` and ``noise`` do not matter."""
        data = quadratic(likelihood)
        A, y = data.operator, data.measurement
        weights = relative_weights(data)
        root: Tensor | float = 1.0 if weights is None else weights.sqrt()

        if state:
            u, r, p, gamma = state["u"], state["r"], state["p"], state["gamma"]
        else:
            u = start.clone() if self.begin == "start" else torch.zeros_like(start)
            r = root * (y - A(u))  # r_0 = b - A x_0
            p = A.H(root * r)  # p_0 = s_0 = A^T r_0
            gamma = A.domain.norm(p).square()  # gamma_0 = |s_0|^2
        first = int(state["index"]) + 1 if state else 0
        for k in range(first, self.iterations):
            q = root * A(p)
            alpha = _ratio(gamma, A.codomain.norm(q).square())  # alpha_k = gamma_k / |q_k|^2
            u = u + _per_item(alpha, u) * p
            r = r - _per_item(alpha, r) * q
            s = A.H(root * r)
            previous, gamma = gamma, A.domain.norm(s).square()
            p = s + _per_item(_ratio(gamma, previous), s) * p  # beta_k = gamma_k+1 / gamma_k
            yield Step(
                k,
                self.iterations,
                None,
                u,
                u,
                {"u": u, "r": r, "p": p, "gamma": gamma, "index": torch.tensor(k)},
            )


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """``a / b``, and zero for a batch item that is solved already."""
    return torch.where(b > 0, a / torch.where(b > 0, b, 1), 0)


def _per_item(scalars: Tensor, like: Tensor) -> Tensor:
    return scalars.reshape(scalars.shape + (1,) * (like.ndim - scalars.ndim))
