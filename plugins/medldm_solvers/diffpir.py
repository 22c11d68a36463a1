"""Plug-and-play image restoration by denoising diffusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import DiffusionPrior, IntegratorName, Likelihood, Noise, Step, advance, integrator
from medldm_solvers.image_prior import image_prior
from medldm_solvers.noise_range import descent
from medldm_solvers.references import DIFFPIR


@dataclass(frozen=True)
class DiffPIR:
    """DiffPIR (Zhu et al., CVPR Workshops 2023): the direction of the noise is that of the image corrected by the data.

    As published for a data step in closed form, which is solved by conjugate gradients here. The paper's ``lam`` and
    ``zeta`` are 7 and 0.3 at 100 steps from pure noise, of natural images. ``lam = (s^2 + sigma^2) / s^2`` would make
    the corrected image the posterior mean for a Gaussian prior of variance ``s^2``: one at small noise, and one is the
    default. Without new noise the loop is then a probability flow of the posterior, and more steps only follow it
    better.

    Attributes:
        steps: denoisings.
        lam: weight of the prior's image in the data step; 1 takes the noise level for its error.
        zeta: share of the variance of each level that is drawn anew; 0 is deterministic after the start. 1 gained 2 dB
            and more over 0.3 on a training scan.
        sigma_max: first noise level, in the prior's unit; None begins at pure noise, the prior's largest, as published.
        sigma_min: last one; None takes the prior's smallest, at least 0.002.
        rho: of the levels; larger spends more steps at little noise.
        cg_iterations: of conjugate gradients in a data step, at most.
        integrator: between the levels; ``ddim`` is the paper's, and the others are it where ``zeta`` is 1.
    """

    references: ClassVar[tuple[str, ...]] = (DIFFPIR,)
    images_held: ClassVar[int] = 9
    measurements_held: ClassVar[int] = 3
    trial_steps: ClassVar[int] = 12

    steps: Annotated[int, Field(ge=1)] = 50
    lam: Annotated[float, Field(gt=0)] = 1.0
    zeta: Annotated[float, Field(ge=0, le=1)] = 1.0
    sigma_max: Annotated[float, Field(gt=0)] | None = 1.0
    sigma_min: Annotated[float, Field(gt=0)] | None = None
    rho: Annotated[float, Field(gt=0)] = 7.0
    cg_iterations: Annotated[int, Field(ge=1)] = 6
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
        prior = image_prior(prior, "diffpir")
        levels = descent(prior, self.steps, low=self.sigma_min, high=self.sigma_max, rho=self.rho)
        extrapolate = integrator(self.integrator, self.zeta)
        if state:
            x, memory, first = state["x"], state["memory"], int(state["index"]) + 1
        else:
            x, first = start + levels[0] * noise.like(start, "start", step=0), 0
            memory = extrapolate.nothing(x)
        for k in range(first, self.steps):
            sigma, after = levels[k], levels[k + 1]
            # algorithm 1, line 3
            v = prior.denoise(x, x.real.new_full((len(x),), sigma))
            # lines 1 and 4: rho_t = lam sigma_n^2 / sigma_t^2, the noise being in the likelihood
            u = likelihood.prox(v, self.lam / sigma**2, start=v, iterations=self.cg_iterations)
            # lines 5 to 7: the effective noise is what lies between x and u
            aim, memory = extrapolate(levels, k, x, u, memory)
            fresh = noise.like(x, "renoise", step=k) if self.zeta > 0 and after > 0 else None
            x = advance(x, aim, sigma, after, self.zeta, fresh)
            yield Step(k, self.steps, sigma, x, u, {"x": x, "memory": memory, "index": torch.tensor(k)})
