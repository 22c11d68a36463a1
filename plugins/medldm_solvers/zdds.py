"""The default: denoise, proximal step, noise of the next level."""

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
from medldm_solvers.references import CCDF, DDS, DIFFPIR, PIGDM


@dataclass(frozen=True)
class ZDDS:
    """Decomposed diffusion sampling with a data step that knows the noise, begun at the classical image.

    The loop of Chung, Lee and Ye (ICLR 2024): denoise, conjugate gradients for the data, DDIM towards the next level
    with the direction of the denoiser. The weight of the data step is that of Zhu et al. (CVPR Workshops 2023),
    ``lam / sigma^2`` against a likelihood that carries the noise, or ``lam / r^2`` with the
    ``r^2 = sigma^2 s^2 / (sigma^2 + s^2)`` of Song et al. (ICLR 2023). It begins at the start image with noise of
    ``sigma_max`` on it (Chung et al. 2022, come closer, diffuse faster).

    The direction points away from the prior's image, not from the corrected one, so every step takes the full
    correction of the data: more steps lean more on the data, and in the limit of many all that is measured is fitted by
    least squares. ``lam`` therefore belongs to a number of steps; less so where all noise is drawn anew.

    Attributes:
        steps: denoisings.
        lam: weight of the prior's image in the data step; 1 takes the noise level for its error.
        spread: ``s``, of images around what the prior knows without any: however noisy ``x`` is, the prior's image is
            not taken to err by more. None has no such bound. Ill-conditioned operators (few views) need it, since a
            data step that hardly minds the prior's image fits the noise.
        zeta: share of the variance of each level that is drawn anew; 0 is deterministic after the start.
        temperature: of what is drawn, its standard deviation over that of the level. 1 is the paper's, for samples that
            differ as they should; below, the image comes closer to a mean of samples, and samples differ by too little.
        sigma_max: first noise level, in the prior's unit; None begins at pure noise, the prior's largest.
        sigma_min: last one; None takes the prior's smallest, at least 0.002.
        rho: of the levels; larger spends more steps at little noise.
        cg_iterations: of conjugate gradients in a data step, at most.
        integrator: between the levels; ``ddim`` is the paper's, and the others are it where ``zeta`` is 1.
    """

    references: ClassVar[tuple[str, ...]] = (DDS, DIFFPIR, PIGDM, CCDF)
    images_held: ClassVar[int] = 9
    measurements_held: ClassVar[int] = 3
    trial_steps: ClassVar[int] = 12

    steps: Annotated[int, Field(ge=1)] = 50
    lam: Annotated[float, Field(gt=0)] = 0.25
    spread: Annotated[float, Field(gt=0)] | None = None
    zeta: Annotated[float, Field(ge=0, le=1)] = 1.0
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.5
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
        prior = image_prior(prior, "zdds")
        levels = descent(prior, self.steps, low=self.sigma_min, high=self.sigma_max, rho=self.rho)
        extrapolate = integrator(self.integrator, self.zeta)
        if state:
            x, memory, first = state["x"], state["memory"], int(state["index"]) + 1
        else:
            x, first = start + self.temperature * levels[0] * noise.like(start, "start", step=0), 0
            memory = extrapolate.nothing(x)
        for k in range(first, self.steps):
            sigma, after = levels[k], levels[k + 1]
            # Tweedie's estimate of the image (DDS; DiffPIR algorithm 1, line 3)
            v = prior.denoise(x, x.real.new_full((len(x),), sigma))
            # the data by conjugate gradients from there (DDS), rho_t of DiffPIR, algorithm 1, lines 1 and 4
            u = likelihood.prox(v, self.lam / self._error(sigma), start=v, iterations=self.cg_iterations)
            # DDIM with the direction of the denoiser (DDS), whose eta^2 is zeta
            aim, memory = extrapolate(levels, k, x, v, memory)
            drawn = self.zeta > 0 and after > 0
            fresh = self.temperature * noise.like(x, "renoise", step=k) if drawn else None
            x = advance(x, aim, sigma, after, self.zeta, fresh, shift=u - v)
            yield Step(k, self.steps, sigma, x, u, {"x": x, "memory": memory, "index": torch.tensor(k)})

    def _error(self, sigma: float) -> float:
        """Of the prior's image, a variance: ``r_t^2`` (Song et al. 2023), or ``sigma^2``."""
        return sigma**2 if self.spread is None else sigma**2 * self.spread**2 / (sigma**2 + self.spread**2)
