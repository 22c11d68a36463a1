"""ReSample: the denoised latent fitted to the data, and noise of the level around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import BoundPrior, DiffusionPrior, Likelihood, Noise, Step, advance
from medldm_solvers.latent_state import latent_prior
from medldm_solvers.noise_range import descent
from medldm_solvers.references import RESAMPLE


@dataclass(frozen=True)
class ReSample:
    """ReSample (Song et al., ICLR 2024): now and then the denoised latent is fitted to the data, the state drawn anew.

    Fitted is the least of ``energy(x) + w/2 |x - Dec z0|^2``: at much noise of an image, which is then coded (pixel
    stage), at little noise of the latent itself. ``w`` is that of ``latent-zdds``; zero in the paper, where Adam stops
    early. The state is drawn from what the fitted latent and a DDIM step say of it together. Published with 500 steps
    from pure noise, the first third without fits; this one begins at the start image. Its program adds what the
    algorithm has not: a gradient step of DPS at every level, and five DDIM steps before a fit.

    Attributes:
        steps: denoisings.
        every: the data are looked at in every so many steps, and in the last; 10 in the paper.
        gamma: mistrust of the DDIM step in the draw; 40 in the paper.
        split: noise level below which the latent is fitted, through the decoder; the last third of steps in the paper.
        pixel_stage: how the image is fitted: ``cg`` by conjugate gradients, ``adam`` as published.
        lam: weight of the decoded image in a fit; 0 trusts the data alone, noise and all.
        cg_iterations: of conjugate gradients in a fit, at most.
        adam_iterations: of Adam in a fit; up to 2000 of the image, 500 of the latent in the paper.
        rate: of Adam, about the change of each number in an iteration; 0.01 and 0.005 in the paper.
        sigma_max: first noise level, in the state's unit; None begins at pure noise, the prior's largest, as published.
        sigma_min: last one; None takes the prior's smallest, at least 0.002.
        rho: of the levels; larger spends more steps at little noise.
    """

    references: ClassVar[tuple[str, ...]] = (RESAMPLE,)
    images_held: ClassVar[int] = 600
    measurements_held: ClassVar[int] = 4

    steps: Annotated[int, Field(ge=1)] = 30
    every: Annotated[int, Field(ge=1)] = 2
    gamma: Annotated[float, Field(gt=0)] = 40.0
    split: Annotated[float, Field(ge=0)] = 0.05
    pixel_stage: Literal["cg", "adam"] = "cg"
    lam: Annotated[float, Field(ge=0)] = 1.0
    cg_iterations: Annotated[int, Field(ge=1)] = 15
    adam_iterations: Annotated[int, Field(ge=1)] = 20
    rate: Annotated[float, Field(gt=0)] = 0.01
    sigma_max: Annotated[float, Field(gt=0)] | None = 2.0
    sigma_min: Annotated[float, Field(gt=0)] | None = 0.02
    rho: Annotated[float, Field(gt=0)] = 7.0

    @property
    def proximal(self) -> bool:
        """Whether slices can be coupled: where conjugate gradients fit the image, from the first level on."""
        return self.pixel_stage == "cg" and (self.sigma_max is None or self.sigma_max >= self.split)

    @torch.no_grad()
    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield a step per noise level; the state is the noisy latent ``z``, the estimate the fitted image ``u``."""
        prior = latent_prior(prior, "resample")
        levels = descent(prior, self.steps, low=self.sigma_min, high=self.sigma_max, rho=self.rho)
        if state:
            z, u, first = state["z"], state["u"], int(state["index"]) + 1
        else:
            coded = prior.encode(start)
            z, u, first = coded + levels[0] * noise.like(coded, "start", step=0), start, 0
        for k in range(first, self.steps):
            sigma, after = levels[k], levels[k + 1]
            # algorithm 1: Tweedie's estimate of the latent, a DDIM step, hard data consistency, and back to the level
            clean = prior.denoise(z, z.real.new_full((len(z),), sigma))
            z = advance(z, clean, sigma, after)
            if k % self.every == 0 or k == self.steps - 1:
                u, fitted = self._fit(likelihood, prior, clean, sigma)
                fresh = noise.like(z, "resample", step=k)
                z = resampled(z, fitted, sigma, after, self.gamma, fresh) if after > 0 else fitted
            yield Step(k, self.steps, sigma, z, u, {"z": z, "u": u, "index": torch.tensor(k)})

    def _fit(self, likelihood: Likelihood, prior: BoundPrior, clean: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The image that fits the data, and its latent."""
        v, weight = prior.decode(clean), self.lam / (prior.gain**2 * sigma**2 + prior.error**2)
        if sigma < self.split:  # argmin_z |y - A Dec(z)|^2 / 2 from the denoised latent
            z = self._adam(likelihood, v, weight, clean.clone(), prior)
            return prior.decode(z), z
        if self.pixel_stage == "cg":  # argmin_x |y - A x|^2 / 2 from its image
            u = likelihood.prox(v, weight, start=v, iterations=self.cg_iterations)
        else:
            u = self._adam(likelihood, v, weight, v.clone(), None)
        return u, prior.encode(u)

    def _adam(self, likelihood: Likelihood, v: Tensor, weight: float, x: Tensor, prior: BoundPrior | None) -> Tensor:
        optimiser = torch.optim.Adam([x.requires_grad_()], lr=self.rate)
        for _ in range(self.adam_iterations):
            with torch.enable_grad():
                u = x if prior is None else prior.decode(x)
                misfit = likelihood.energy(u).sum() + weight / 2 * (u - v).abs().square().sum()
                (x.grad,) = torch.autograd.grad(misfit, x)
            optimiser.step()
        return x.detach()


def resampled(z: Tensor, fitted: Tensor, sigma: float, after: float, gamma: float, fresh: Tensor) -> Tensor:
    """Stochastic resampling at the level ``after``: a draw from the product of ``N(fitted, after^2)`` and ``N(z, s)``.

    The paper's state is ``sqrt(a)`` of this one, ``a = 1 / (1 + after^2)``. Its ``s_p = gamma (1 - a) / (1 - a_t)
    (1 - a_t / a)``, as in its program, is here ``s = s_p / a = gamma after^2 (1 - after^2 / sigma^2)``.
    """
    share = 1 / (1 + gamma * (1 - (after / sigma) ** 2))  # after^2 / (s + after^2)
    return torch.add(fitted + share * (z - fitted), after * (1 - share) ** 0.5 * fresh)
