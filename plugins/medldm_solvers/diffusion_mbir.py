"""Diffusion with the total variation across slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import DiffusionPrior, Likelihood, Noise, QuadraticTerm, Step, advance, weighted_norm
from medldm.operators import FiniteDifference, Space
from medldm_solvers.image_prior import image_prior
from medldm_solvers.linear_data import quadratic
from medldm_solvers.noise_range import descent
from medldm_solvers.references import DIFFUSION_MBIR, SCORE_SDE


@dataclass(frozen=True)
class DiffusionMBIR:
    """DiffusionMBIR (Chung et al., CVPR 2023): each step of the prior, then one of ADMM for the data and ``|D_z x|_1``.

    The prior's step is a predictor and a corrector (Song et al., ICLR 2021), the data act on the noisy image, and the
    duals are kept from level to level, the paper's fast variant. Not as published: the difference across the last slice
    is zero, where the published code wraps round to the first; ``lam`` and ``penalty`` are over ``|W^(1/2) A|^2``, so
    that they mean the same for any unit of the measurement; differences are per slice, over the ratio of slice distance
    to the finest spacing where that is known; 250 levels, not 2000.

    Attributes:
        steps: levels, two denoisings each, or one without corrector; 2000 in the paper.
        lam: weight of the total variation along z, in the prior's unit.
        penalty: of ADMM, ``rho`` in the paper.
        cg_iterations: in a step of ADMM; 1 in the paper.
        snr: of the corrector, 0.16 in the paper; 0 leaves it out.
        sigma_max: first noise level, in the prior's unit; None begins at pure noise, the prior's largest, as published.
        sigma_min: last one; None takes the prior's smallest, at least 0.002.
        rho: of the levels; larger spends more steps at little noise.
    """

    references: ClassVar[tuple[str, ...]] = (DIFFUSION_MBIR, SCORE_SDE)
    images_held: ClassVar[int] = 14
    measurements_held: ClassVar[int] = 3

    steps: Annotated[int, Field(ge=1)] = 250
    lam: Annotated[float, Field(ge=0)] = 0.001
    penalty: Annotated[float, Field(gt=0)] = 0.1
    cg_iterations: Annotated[int, Field(ge=1)] = 1
    snr: Annotated[float, Field(ge=0)] = 0.16
    sigma_max: Annotated[float, Field(gt=0)] | None = 1.0
    sigma_min: Annotated[float, Field(gt=0)] | None = None
    rho: Annotated[float, Field(gt=0)] = 7.0

    @torch.no_grad()
    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield a step per noise level; the state is the image ``x``, the split ``d`` and the dual ``b``."""
        prior = image_prior(prior, "diffusion-mbir")
        likelihood = quadratic(likelihood)
        levels = descent(prior, self.steps, low=self.sigma_min, high=self.sigma_max, rho=self.rho)
        D = _across_slices(likelihood.operator.domain)
        squared_norm = weighted_norm(likelihood.operator, likelihood.weights, noise, start.device) ** 2
        penalty, threshold, w = self.penalty * squared_norm, self.lam / self.penalty, _PROXIMAL * squared_norm
        if state:
            x, d, b, first = state["x"], state["d"], state["b"], int(state["index"]) + 1
        else:
            x, first = start + levels[0] * noise.like(start, "start", step=0), 0
            d = D(torch.zeros_like(x))
            b = torch.zeros_like(d)
        for k in range(first, self.steps):
            sigma, after = levels[k], levels[k + 1]
            # predictor of Song et al.: reverse diffusion of the variance-exploding process, its mean alone at the end
            clean = prior.denoise(x, x.real.new_full((len(x),), sigma))
            fresh = noise.like(x, "renoise", step=k) if after > 0 else None
            x = advance(x, clean, sigma, after, 1 - (after / sigma) ** 2, fresh)
            # corrector of Song et al.: Langevin, its step 2 (snr |n| / |score|)^2
            if after > 0 and self.snr > 0:
                score = (prior.denoise(x, x.real.new_full((len(x),), after)) - x) / after**2
                n = noise.like(x, "correct", step=k)
                ratio = self.snr * prior.space.norm(n) / prior.space.norm(score).clamp(min=1e-12)
                step = (2 * ratio**2).reshape(-1, 1, 1, 1)
                x = x + step * score + (2 * step).sqrt() * n
            # ADMM, its image: (A^H W A + rho D^T D) x = A^H W y + rho D^T (d - b), from the noisy x. A trace of it
            # in the system keeps what neither data nor differences see in place.
            pull = D.H(d - b) * (penalty / w)
            coupled = QuadraticTerm(D, penalty)
            x = likelihood.prox(x + pull, w, coupled, start=x, iterations=self.cg_iterations)
            # ADMM, its split d = shrink(D x + b, lam / rho) and its dual b + D x - d
            differences = D(x)
            d = _shrunk(differences + b, threshold)
            b = b + differences - d
            yield Step(k, self.steps, sigma, x, x, {"x": x, "d": d, "b": b, "index": torch.tensor(k)})


_PROXIMAL = 1e-5


def _across_slices(space: Space) -> FiniteDifference:
    """Differences of neighbouring slices, per finest spacing."""
    spacing = space.spacing or (1.0, 1.0, 1.0)
    finest = min(spacing)
    return FiniteDifference(space, tuple(step / finest for step in spacing), along=("z",))


def _shrunk(x: Tensor, threshold: float) -> Tensor:
    """Soft thresholding of the magnitude."""
    size = x.abs()
    return x * ((size - threshold).clamp(min=0) / size.clamp(min=torch.finfo(size.dtype).tiny))
