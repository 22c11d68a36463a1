"""What a diffusion network was trained to predict, turned into a denoiser once, at the edge.

Every row of the table writes the denoiser ``D(x, sigma) = E[x0 | x0 + sigma n = x]`` as

    D = skip(sigma) x + out(sigma) F(scale(sigma) x, noise(sigma))        (Karras et al. 2022, equation 7)

with a network ``F``. ``sigma`` is the noise level in the units of the data; the variance-preserving frame of the
discrete schedules is ``x_vp = x / sqrt(1 + sigma^2)`` (ibid., table 1). A network that was trained to turn the start
image of one measurement into the image is the row without noise: ``sigma`` is 0 and means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Coefficient = Callable[[Tensor], Tensor]
Kind = Literal["epsilon", "v", "x0", "flow", "edm", "regression"]


@dataclass(frozen=True)
class Parametrization:
    """Four functions of the noise level, each ``(batch,) -> (batch,)``.

    Attributes:
        skip: weight of the noisy input in the denoised output.
        out: weight of the network's output.
        scale: factor on the network's input.
        noise: what the network is told of the noise level.
        sigma_min: smallest noise level that the network has seen.
        sigma_max: largest.
    """

    skip: Coefficient
    out: Coefficient
    scale: Coefficient
    noise: Coefficient
    sigma_min: float
    sigma_max: float

    def denoised(self, network: Callable[[Tensor, Tensor], Tensor], x: Tensor, sigma: Tensor) -> Tensor:
        """``D(x, sigma)``.

        Beyond the noise levels that the network has seen, it is told of the nearest one; the other three functions keep
        to the noise that is there. So ``sigma = 0`` gives a finite result, and ``x`` itself unless ``skip(0) = 0``.

        Args:
            network: ``F(scaled x, noise)``.
            x: (batch, ...), noisy.
            sigma: (batch,), noise level of each element.
        """
        each = (-1, *(1,) * (x.ndim - 1))
        skip, out, scale = (c(sigma).to(x.dtype).reshape(each) for c in (self.skip, self.out, self.scale))
        seen = sigma.clamp(self.sigma_min, self.sigma_max)
        return skip * x + out * network(scale * x, self.noise(seen))


@dataclass(frozen=True)
class SigmaTable:
    """Noise levels of a network that counts its levels from 0 to N - 1.

    Attributes:
        sigmas: (N,) float64, increasing; ``sigma_t = sqrt((1 - alpha_bar_t) / alpha_bar_t)``.
    """

    sigmas: Tensor

    def __post_init__(self) -> None:
        if self.sigmas.ndim != 1 or len(self.sigmas) < 2 or not bool((self.sigmas.diff() > 0).all()):
            raise ValueError("a table of noise levels has one axis, two levels or more, and increases")

    @classmethod
    def of_alpha_bars(cls, alpha_bars: Tensor) -> SigmaTable:
        """From the cumulative products of the discrete schedule, decreasing in (0, 1).

        A schedule with zero terminal signal-to-noise ratio (Lin et al. 2024) ends at 0, an infinite noise. Its last
        entry is taken as 2^-24, sigma 4096, where the signal is as good as lost.
        """
        alpha_bars = alpha_bars.double().clamp_min(2.0**-24)
        return cls(((1 - alpha_bars) / alpha_bars).sqrt())

    @classmethod
    def of_betas(cls, betas: Tensor) -> SigmaTable:
        """From the variances of the discrete forward process (Ho et al. 2020)."""
        return cls.of_alpha_bars(torch.cumprod(1 - betas.double(), 0))

    def level(self, sigma: Tensor) -> Tensor:
        """The level of a noise, a real number: linear in ``log sigma`` between the table's entries, ends kept."""
        low_end, high_end = self.limits
        logs = sigma.double().clamp(low_end, high_end).log()
        table = self.sigmas.to(sigma.device, torch.float64).log()
        above = torch.searchsorted(table, logs).clamp(1, len(table) - 1)
        low, high = table[above - 1], table[above]
        return (above - 1 + (logs - low) / (high - low)).to(sigma.dtype)

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest noise level."""
        return float(self.sigmas[0]), float(self.sigmas[-1])


def epsilon(table: SigmaTable) -> Parametrization:
    """The network predicts the noise of ``x_vp`` (Ho et al. 2020): ``D = x - sigma F``."""
    return Parametrization(torch.ones_like, torch.neg, _to_vp, table.level, *table.limits)


def v_prediction(table: SigmaTable) -> Parametrization:
    """The network predicts ``v = alpha n - std x0`` in the variance-preserving frame (Salimans and Ho 2022)."""
    return Parametrization(
        lambda sigma: 1 / (1 + sigma**2),
        lambda sigma: -sigma * _to_vp(sigma),
        _to_vp,
        table.level,
        *table.limits,
    )


def x0_prediction(table: SigmaTable) -> Parametrization:
    """The network predicts the clean image."""
    return Parametrization(torch.zeros_like, torch.ones_like, _to_vp, table.level, *table.limits)


def flow_matching(sigma_min: float, sigma_max: float, levels: float = 1.0) -> Parametrization:
    """The network predicts the velocity ``n - x0`` on ``x_t = (1 - t) x0 + t n`` (Lipman et al. 2023).

    Args:
        sigma_min: smallest noise level seen, ``sigma = t / (1 - t)``.
        sigma_max: largest.
        levels: what the network is told is ``levels * t``; 1000 for networks that count time in thousandths.
    """
    return Parametrization(
        lambda sigma: 1 / (1 + sigma),
        lambda sigma: -sigma / (1 + sigma),
        lambda sigma: 1 / (1 + sigma),
        lambda sigma: levels * sigma / (1 + sigma),
        sigma_min,
        sigma_max,
    )


def edm(sigma_data: float, sigma_min: float, sigma_max: float) -> Parametrization:
    """The preconditioning of Karras et al. 2022, table 1: unit variance at the network's input and target.

    Args:
        sigma_data: standard deviation of the data.
        sigma_min: smallest noise level seen.
        sigma_max: largest.
    """
    variance = sigma_data**2
    return Parametrization(
        lambda sigma: variance / (sigma**2 + variance),
        lambda sigma: sigma * sigma_data / (sigma**2 + variance).sqrt(),
        lambda sigma: 1 / (sigma**2 + variance).sqrt(),
        lambda sigma: sigma.log() / 4,
        sigma_min,
        sigma_max,
    )


def regression(sigma_data: float) -> Parametrization:
    """The network predicts what the start image lacks: ``D(x, 0) = x + s F(x / s)`` (Jin et al. 2017).

    Args:
        sigma_data: ``s``, standard deviation of the images.
    """
    return Parametrization(
        torch.ones_like,
        lambda sigma: torch.full_like(sigma, sigma_data),
        lambda sigma: torch.full_like(sigma, 1 / sigma_data),
        torch.zeros_like,
        0.0,
        0.0,
    )


def _to_vp(sigma: Tensor) -> Tensor:
    return 1 / (1 + sigma**2).sqrt()
