"""Diffusion posterior sampling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import BoundPrior, DiffusionPrior, Likelihood, Noise, Step, advance, weighted_norm
from medldm_solvers import references as papers
from medldm_solvers.image_prior import image_prior
from medldm_solvers.noise_range import descent


@dataclass(frozen=True)
class DPS:
    """DPS (Chung et al., ICLR 2023): the gradient of the misfit of the denoised image, through the network.

    An ancestral step, and against it ``zeta`` times the gradient of the norm, not squared, of the misfit with respect
    to the noisy state. As published but for three things. The state keeps the size of the image: the paper's is
    ``1 / sqrt(1 + sigma^2)`` of it, and its step is multiplied accordingly. The misfit is weighed and over the norm of
    the operator, and the step times the root of the number of voxels over that of steps, so that ``zeta`` means the
    same for any unit, image size and number of steps. The levels are a power law.

    It needs the network's derivative: several times the memory and time of a denoising.

    Attributes:
        steps: denoisings and derivatives; 1000 in the paper.
        zeta: root mean square change of the image by all gradients together, at most, in the prior's unit. The paper's
            1 at 1000 steps is 2.3 for images from -1 to 1 of 3 x 256 x 256, 1.1 from 0 to 1. Too large diverges, the
            sooner the fewer steps.
        sigma_max: first noise level, in the prior's unit; None begins at pure noise, the prior's largest, as published.
        sigma_min: last one; None takes the prior's smallest, at least 0.002.
        rho: of the levels; larger spends more steps at little noise.
    """

    references: ClassVar[tuple[str, ...]] = (papers.DPS,)
    proximal: ClassVar[bool] = False
    images_held: ClassVar[int] = 60
    measurements_held: ClassVar[int] = 4

    steps: Annotated[int, Field(ge=1)] = 200
    zeta: Annotated[float, Field(ge=0)] = 1.0
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
        """Yield a step per noise level; the state is the noisy image ``x``, the estimate the denoised one."""
        prior = image_prior(prior, "dps")
        levels = descent(prior, self.steps, low=self.sigma_min, high=self.sigma_max, rho=self.rho)
        norm = weighted_norm(likelihood.operator, likelihood.weights, noise, start.device)
        length = self.zeta * prior.space.size**0.5 / (self.steps * norm)
        if state:
            x, first = state["x"], int(state["index"]) + 1
        else:
            x, first = start + levels[0] * noise.like(start, "start", step=0), 0
        for k in range(first, self.steps):
            sigma, after = levels[k], levels[k + 1]
            # algorithm 1, lines 3, 4 and 7: the denoised image and the gradient of |y - A D(x)|
            clean, gradient = _misfit(likelihood, prior, x, sigma)
            # lines 5 and 6: the ancestral step
            fresh = noise.like(x, "renoise", step=k) if after > 0 else None
            x = advance(x, clean, sigma, after, 1 - (after / sigma) ** 2, fresh)
            x = x - length * ((1 + sigma**2) * (1 + after**2)) ** 0.5 * gradient
            estimate = clean if after > 0 else x
            yield Step(k, self.steps, sigma, x, estimate, {"x": x, "index": torch.tensor(k)})


def _misfit(likelihood: Likelihood, prior: BoundPrior, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """The denoised image, and the gradient of ``|W^(1/2) (y - A D(x))|`` for each sample, d/d Re + i d/d Im."""
    with torch.enable_grad():
        state = x.detach().requires_grad_()
        clean = prior.denoise(state, x.real.new_full((len(x),), sigma))
        # the energy is half of the squared norm; zero has no direction
        squared = 2 * likelihood.energy(clean)
        (gradient,) = torch.autograd.grad(squared.clamp(min=torch.finfo(squared.dtype).tiny).sqrt().sum(), state)
    return clean.detach(), gradient
