"""Posterior sampling with latent diffusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import BoundPrior, DiffusionPrior, Likelihood, Noise, Step, advance, weighted_norm
from medldm.inference.weighted_norm import MARGIN
from medldm_solvers import references as papers
from medldm_solvers.latent_state import latent_prior
from medldm_solvers.noise_range import descent


@dataclass(frozen=True)
class PSLD:
    """PSLD (Rout et al., NeurIPS 2023): DPS on latents, which also have to be what their own image is coded to.

    An ancestral step, and against it ``omega`` times the gradient of the misfit of the decoded image, and ``gamma``
    times that of ``|z0 - E(glued)|``, where the data take the place of what they see of the decoded image. Both are
    norms, not squared, as in its program, whose steps and size of the state are treated as in ``dps``.

    Published is ``glued = A^H y + (I - A^H A) Dec z0``, which is right where ``A^H A`` is a projection. Here it is
    ``Dec z0`` less the gradient of its energy over ``|W^(1/2) A|^2``, ``gluing`` times: the same for a projection, and
    for any other operator a descent that knows no units and does not overshoot. The program also adds noise to
    the predicted measurement; nothing is added here.

    It needs the derivatives of network, decoder and encoder, and gives a decoded image.

    Attributes:
        steps: denoisings and derivatives; 1000 in the paper.
        omega: root mean square change of the latent by all gradients of the misfit together, about, in its unit. Too
            large diverges, the sooner the fewer steps.
        gamma: likewise of the gluing.
        gluing: gradient steps that glue the data to the image; more where ``A^H A`` is far from a projection.
        sigma_max: first noise level, in the state's unit; None begins at pure noise, the prior's largest, as published.
        sigma_min: last one; None takes the prior's smallest, at least 0.002.
        rho: of the levels; larger spends more steps at little noise.
    """

    references: ClassVar[tuple[str, ...]] = (papers.PSLD,)
    proximal: ClassVar[bool] = False
    images_held: ClassVar[int] = 900
    measurements_held: ClassVar[int] = 6

    steps: Annotated[int, Field(ge=1)] = 50
    omega: Annotated[float, Field(ge=0)] = 1.0
    gamma: Annotated[float, Field(ge=0)] = 0.4
    gluing: Annotated[int, Field(ge=1)] = 1
    sigma_max: Annotated[float, Field(gt=0)] | None = 2.0
    sigma_min: Annotated[float, Field(gt=0)] | None = 0.02
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
        """Yield a step per noise level; the state is the noisy latent ``z``, the estimate the decoded image."""
        prior = latent_prior(prior, "psld")
        levels = descent(prior, self.steps, low=self.sigma_min, high=self.sigma_max, rho=self.rho)
        norm = weighted_norm(likelihood.operator, likelihood.weights, noise, start.device)
        # a unit of the latent is a gain of the image, root mean square
        seen = norm * prior.gain * (prior.image.size / prior.space.size) ** 0.5
        length = prior.space.size**0.5 / self.steps
        if state:
            z, first = state["z"], int(state["index"]) + 1
        else:
            coded = prior.encode(start)
            z, first = coded + levels[0] * noise.like(coded, "start", step=0), 0
        for k in range(first, self.steps):
            sigma, after = levels[k], levels[k + 1]
            # algorithm 2, lines 3 and 4, and what lines 7 and 8 subtract
            clean, image, gradient = self._gradient(likelihood, prior, z, sigma, norm, seen)
            # lines 5 and 6: the ancestral step
            fresh = noise.like(z, "renoise", step=k) if after > 0 else None
            z = advance(z, clean, sigma, after, 1 - (after / sigma) ** 2, fresh)
            z = z - length * ((1 + sigma**2) * (1 + after**2)) ** 0.5 * gradient
            estimate = image if after > 0 else prior.decode(z)
            yield Step(k, self.steps, sigma, z, estimate, {"z": z, "index": torch.tensor(k)})

    def _gradient(
        self, likelihood: Likelihood, prior: BoundPrior, z: Tensor, sigma: float, norm: float, seen: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The denoised latent, its image, and the gradient of both norms for each sample, d/d Re + i d/d Im."""
        with torch.enable_grad():
            state = z.detach().requires_grad_()
            clean = prior.denoise(state, z.real.new_full((len(z),), sigma))
            image = prior.decode(clean)
            # line 7: |y - A Dec(z0)|; the energy is half of its square, and zero has no direction
            squared = 2 * likelihood.energy(image)
            misfit = squared.clamp(min=torch.finfo(squared.dtype).tiny).sqrt()
            # line 8: |z0 - E(A^H y + (I - A^H A) Dec(z0))|
            glued = image
            for _ in range(self.gluing):
                glued = glued - (MARGIN / norm) ** 2 * likelihood.gradient(glued)
            apart = prior.space.norm(clean - prior.encode(glued))
            both = self.omega / seen * misfit.sum() + self.gamma * apart.sum()
            (gradient,) = torch.autograd.grad(both, state)
        return clean.detach(), image.detach(), gradient
