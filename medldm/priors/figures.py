"""What of a prior can be measured without a scan: how it behaves at the ends of its noise levels, and its round trip.

Training measures these on images held back and states them in ``card.quality``; the conformance kit measures them again
on an image of its own and compares. A figure stands in the card as a number, or as a table with ``bound`` beside a word
on what it was measured on: ``identity_error: {bound: 0.03, on: public volumes}``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from medldm.inference.prior import DiffusionPrior
from medldm.priors.card import PriorCard


def stated(card: PriorCard, name: str) -> float | None:
    """The bound that a card states for a figure; None where it states none."""
    value = card.quality.get(name)
    if isinstance(value, Mapping):
        value = value.get("bound")
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


class Denoises(Protocol):
    """As much of a prior as its ends can be measured on."""

    sigma_min: float
    sigma_max: float
    denoise: Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def identity_error(prior: DiffusionPrior | Denoises, states: Tensor, noise: Tensor) -> float:
    """How much the denoiser changes an image that carries the least noise of use.

    For the exact posterior mean this is at most ``sigma_min``: with ``x = x0 + sigma n``,
    ``E|x - x0|^2 = E|x - D(x)|^2 + E|D(x) - x0|^2``, since the error of a conditional mean is orthogonal to it.

    Args:
        prior: bound to the images' grid.
        states: (batch, *space), from ``encode``.
        noise: of that shape, standard normal per real component.

    Returns:
        Root mean square of ``D(x, sigma_min) - x`` over the samples, in units of the state.
    """
    noisy = states + prior.sigma_min * noise
    changed = prior.denoise(noisy, _levels(states, prior.sigma_min)) - noisy
    return _rms(changed)


@torch.no_grad()
def mean_error(prior: DiffusionPrior | Denoises, states: Tensor, noise: Tensor) -> float:
    """How much the denoiser still tells images apart under the greatest noise of use, where it should give their mean.

    Args:
        prior: bound to the images' grid.
        states: (batch, *space), two or more different ones.
        noise: of that shape, standard normal per real component, different in each.

    Returns:
        Root mean square of the difference between two denoised images, over the square root of 2: the standard
        deviation of ``D(x, sigma_max)`` over images, in units of the state.
    """
    denoised = prior.denoise(states + prior.sigma_max * noise, _levels(states, prior.sigma_max))
    centred = denoised - denoised.mean(0, keepdim=True)
    return _rms(centred) * math.sqrt(len(states) / (len(states) - 1))


@torch.no_grad()
def round_trip_psnr(prior: DiffusionPrior, images: Tensor, span: float) -> float:
    """PSNR of ``decode(encode(x))`` in dB; infinite for a pixel prior.

    Args:
        prior: bound to the images' grid.
        images: (batch, z, y, x), in model units.
        span: peak value: the width of the model range, ``|to[1] - to[0]|`` of the card's intensity.
    """
    error = _rms(prior.decode(prior.encode(images)) - images)
    return math.inf if error == 0 else 20 * math.log10(span / error)


def _levels(x: Tensor, sigma: float) -> Tensor:
    return torch.full((len(x),), sigma, device=x.device, dtype=x.real.dtype)


def _rms(x: Tensor) -> float:
    return float((x.abs().double() ** 2).mean().sqrt())
