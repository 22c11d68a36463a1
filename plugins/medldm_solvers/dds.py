"""Decomposed diffusion sampling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import DiffusionPrior, IntegratorName, Likelihood, Noise, Step, advance, integrator, weighted_norm
from medldm_solvers import references as papers
from medldm_solvers.image_prior import image_prior
from medldm_solvers.linear_data import quadratic
from medldm_solvers.noise_range import descent


@dataclass(frozen=True)
class DDS:
    """DDS (Chung, Lee and Ye, ICLR 2024): a few conjugate-gradient steps of the data on each denoised image.

    ``(I + gamma A^H A) u = v + gamma A^H y`` from ``u = v`` for noisy data, and ``A^H A u = A^H y`` without ``gamma``,
    where few iterations keep ``u`` near ``v``. The inner product is the complex one and all arithmetic is complex. The
    noise levels are spread as a power law instead of evenly in the time of a variance-preserving process.

    Attributes:
        steps: denoisings.
        gamma: weight of the data at every noise level, for an operator of norm one: it multiplies
            ``A^H W A / |W^(1/2) A|^2``. None runs without it, for data with little noise.
        eta: share of the noise's standard deviation that is drawn anew; 0 is deterministic after the start.
        sigma_max: first noise level, in the prior's unit; None begins at pure noise, the prior's largest, as published.
        sigma_min: last one; None takes the prior's smallest, at least 0.002.
        rho: of the levels; larger spends more steps at little noise.
        cg_iterations: of conjugate gradients in a data step.
        integrator: between the levels; ``ddim`` is the paper's.
    """

    references: ClassVar[tuple[str, ...]] = (papers.DDS,)
    images_held: ClassVar[int] = 9
    measurements_held: ClassVar[int] = 3

    steps: Annotated[int, Field(ge=1)] = 50
    gamma: Annotated[float, Field(gt=0)] | None = 1.0
    eta: Annotated[float, Field(ge=0, le=1)] = 0.85
    sigma_max: Annotated[float, Field(gt=0)] | None = 1.0
    sigma_min: Annotated[float, Field(gt=0)] | None = None
    rho: Annotated[float, Field(gt=0)] = 7.0
    cg_iterations: Annotated[int, Field(ge=1)] = 5
    integrator: IntegratorName = "ddim"

    @torch.no_grad()
    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield a step per noise level; the state is the noisy image ``x``, the estimate the corrected image ``u``."""
        prior = image_prior(prior, "dds")
        likelihood = quadratic(likelihood)
        levels = descent(prior, self.steps, low=self.sigma_min, high=self.sigma_max, rho=self.rho)
        norm = weighted_norm(likelihood.operator, likelihood.weights, noise, start.device)
        weight = 0.0 if self.gamma is None else norm**2 / self.gamma
        extrapolate = integrator(self.integrator, self.eta**2)
        if state:
            x, memory, first = state["x"], state["memory"], int(state["index"]) + 1
        else:
            x, first = start + levels[0] * noise.like(start, "start", step=0), 0
            memory = extrapolate.nothing(x)
        for k in range(first, self.steps):
            sigma, after = levels[k], levels[k + 1]
            # Tweedie's formula: E[x0 | x]
            v = prior.denoise(x, x.real.new_full((len(x),), sigma))
            # conjugate gradients from v, in place of DPS's gradient: (I + gamma A^H A) u = v + gamma A^H y
            u = likelihood.prox(v, weight, start=v, iterations=self.cg_iterations)
            # DDIM step from u: x' = u + sigma' (sqrt(1 - eta^2) (x - v) / sigma + eta n)
            aim, memory = extrapolate(levels, k, x, v, memory)
            fresh = noise.like(x, "renoise", step=k) if self.eta > 0 and after > 0 else None
            x = advance(x, aim, sigma, after, self.eta**2, fresh, shift=u - v)
            yield Step(k, self.steps, sigma, x, u, {"x": x, "memory": memory, "index": torch.tensor(k)})
