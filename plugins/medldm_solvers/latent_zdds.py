"""The default for latent priors: denoise the latent, correct its image by the data, code the correction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import DiffusionPrior, IntegratorName, Likelihood, Noise, Step, advance, integrator
from medldm_solvers.latent_state import latent_prior
from medldm_solvers.noise_range import descent
from medldm_solvers.references import DDS, DIFFPIR


@dataclass(frozen=True)
class LatentZDDS:
    """Decomposed diffusion sampling (Chung, Lee and Ye, ICLR 2024) on latents.

    The loop of ``zdds``, whose data step needs an image: the denoised latent is decoded, the image corrected by
    conjugate gradients, and what the correction is worth in the latent added to it, ``z + E(u) - E(Dec z)``. The error
    of the autoencoder is the same in both and cancels, as it does not where the corrected image itself is coded.

    The weight of the prior's image is ``lam`` over what that image is off by: ``gain^2 sigma^2`` from the noise of the
    latent, and ``error^2`` from the autoencoder, so that the data are not overruled by an image that cannot be right.
    The result is the corrected image, not a decoded one.

    Attributes:
        steps: denoisings.
        every: the data is looked at in every so many steps, and in the last; coding costs as much as denoising.
        lam: weight of the prior's image in the data step.
        zeta: share of the variance of each level that is drawn anew.
        temperature: of what is drawn, its standard deviation over that of the level; see ``zdds``.
        sigma_max: first noise level, in the state's unit; None begins at pure noise, the prior's largest.
        sigma_min: last one; None takes the prior's smallest, at least 0.002.
        rho: of the levels; larger spends more steps at little noise.
        cg_iterations: of conjugate gradients in a data step, at most.
        integrator: between the levels; ``ddim`` is the paper's, and the others are it where ``zeta`` is 1.
    """

    references: ClassVar[tuple[str, ...]] = (DDS, DIFFPIR)
    images_held: ClassVar[int] = 12
    measurements_held: ClassVar[int] = 3
    trial_steps: ClassVar[int] = 12

    steps: Annotated[int, Field(ge=1)] = 30
    every: Annotated[int, Field(ge=1)] = 2
    lam: Annotated[float, Field(gt=0)] = 1.0
    zeta: Annotated[float, Field(ge=0, le=1)] = 1.0
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.5
    sigma_max: Annotated[float, Field(gt=0)] | None = 2.0
    sigma_min: Annotated[float, Field(gt=0)] | None = 0.02
    rho: Annotated[float, Field(gt=0)] = 7.0
    cg_iterations: Annotated[int, Field(ge=1)] = 15
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
        """Yield a step per noise level; the state is the noisy latent ``z``, the estimate the corrected image ``u``."""
        prior = latent_prior(prior, "latent-zdds")
        levels = descent(prior, self.steps, low=self.sigma_min, high=self.sigma_max, rho=self.rho)
        extrapolate = integrator(self.integrator, self.zeta)
        if state:
            z, u, memory, first = state["z"], state["u"], state["memory"], int(state["index"]) + 1
        else:
            coded = prior.encode(start)
            z, u, first = coded + self.temperature * levels[0] * noise.like(coded, "start", step=0), start, 0
            memory = extrapolate.nothing(z)
        for k in range(first, self.steps):
            sigma, after = levels[k], levels[k + 1]
            # Tweedie's estimate of the latent (DDS, equation 8)
            clean = prior.denoise(z, z.real.new_full((len(z),), sigma))
            correction = torch.zeros_like(clean)
            if k % self.every == 0 or k == self.steps - 1:
                # the data by conjugate gradients from its image (DDS, equation 15)
                v = prior.decode(clean)
                weight = self.lam / (prior.gain**2 * sigma**2 + prior.error**2)
                u = likelihood.prox(v, weight, start=v, iterations=self.cg_iterations)
                if after > 0:
                    correction = prior.encode(u) - prior.encode(v)
            # DDIM with the direction of the denoiser (DDS, equation 9)
            aim, memory = extrapolate(levels, k, z, clean, memory)
            drawn = self.zeta > 0 and after > 0
            fresh = self.temperature * noise.like(z, "renoise", step=k) if drawn else None
            z = advance(z, aim, sigma, after, self.zeta, fresh, shift=correction)
            yield Step(k, self.steps, sigma, z, u, {"z": z, "u": u, "memory": memory, "index": torch.tensor(k)})
