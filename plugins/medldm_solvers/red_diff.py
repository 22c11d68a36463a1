"""Regularisation by a denoising diffusion process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import DiffusionPrior, Likelihood, Noise, Step, weighted_norm
from medldm_solvers.image_prior import image_prior
from medldm_solvers.noise_range import descent
from medldm_solvers.references import RED_DIFF


@dataclass(frozen=True)
class REDDiff:
    """RED-diff (Mardani et al., ICLR 2024): an image ``mu`` that fits the data and looks the same noisy at all levels.

    One step of Adam for each level, from much noise to little, of
    ``energy(mu) / |W^(1/2) A|^2 + lam sigma <sg(eps(mu + sigma n) - n), mu>``; no derivative of the network. ``sigma``
    is the inverse of the paper's root of the signal-to-noise ratio, and the data term is over the norm of the operator,
    so that ``lam`` and ``rate`` mean the same for any unit of the measurement. Seeks one image, no samples: several
    differ by their noise alone.

    Attributes:
        steps: levels, one denoising each; 1000 in the paper.
        lam: weight of the prior; 0.25 in the paper. It does not know how noisy the measurement is.
        rate: of Adam, about the change of each voxel in a step, in the prior's unit; 0.1 in the paper, of images from
            -1 to 1.
        sigma_max: first noise level, in the prior's unit; None takes the prior's largest.
        sigma_min: last one; None takes the prior's smallest, at least 0.002.
        rho: of the levels; larger spends more steps at little noise.
    """

    references: ClassVar[tuple[str, ...]] = (RED_DIFF,)
    proximal: ClassVar[bool] = False
    draws_samples: ClassVar[bool] = False
    images_held: ClassVar[int] = 10
    measurements_held: ClassVar[int] = 3

    steps: Annotated[int, Field(ge=1)] = 200
    lam: Annotated[float, Field(ge=0)] = 0.25
    rate: Annotated[float, Field(gt=0)] = 0.01
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
        """Yield a step per noise level; the state is ``mu`` and Adam's two moments ``m``, ``v``."""
        prior = image_prior(prior, "red-diff")
        levels = descent(prior, self.steps, low=self.sigma_min, high=self.sigma_max, rho=self.rho)
        squared_norm = weighted_norm(likelihood.operator, likelihood.weights, noise, start.device) ** 2
        if state:
            mu, m, v, first = state["mu"], state["m"], state["v"], int(state["index"]) + 1
        else:
            mu, m, v, first = start, torch.zeros_like(start), torch.zeros_like(start), 0
        for k in range(first, self.steps):
            sigma = levels[k]
            # algorithm 1: x_t = alpha mu + sigma eps, and the residual of the noise
            n = noise.like(mu, "renoise", step=k)
            x = mu + sigma * n
            residual = (x - prior.denoise(x, x.real.new_full((len(x),), sigma))) / sigma - n
            gradient = likelihood.gradient(mu) / squared_norm + self.lam * sigma * residual
            # Adam (Kingma and Ba 2015, algorithm 1), real and imaginary part each on their own
            m = _BETA_1 * m + (1 - _BETA_1) * gradient
            v = _BETA_2 * v + (1 - _BETA_2) * _squares(gradient)
            mean, spread = m / (1 - _BETA_1 ** (k + 1)), v / (1 - _BETA_2 ** (k + 1))
            mu = mu - self.rate * _ratio(mean, spread)
            yield Step(k, self.steps, sigma, mu, mu, {"mu": mu, "m": m, "v": v, "index": torch.tensor(k)})


_BETA_1, _BETA_2 = 0.9, 0.99
_EPSILON = 1e-8


def _squares(x: Tensor) -> Tensor:
    return torch.complex(x.real.square(), x.imag.square()) if x.is_complex() else x.square()


def _ratio(mean: Tensor, spread: Tensor) -> Tensor:
    """``mean / (sqrt(spread) + epsilon)``, part by part."""
    if not mean.is_complex():
        return mean / (spread.sqrt() + _EPSILON)
    return torch.complex(_ratio(mean.real, spread.real), _ratio(mean.imag, spread.imag))
