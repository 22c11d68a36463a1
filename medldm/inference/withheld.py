"""Two reconstructions judged by samples of the measurement that were withheld from both.

An image that was made without some of the measured samples predicts them; how far it misses says how good it is, noise
and model being the same for all. It is the only witness a measurement has against a prior: samples that a prior's
image was fitted to are explained by it either way (cross-validation, Stone 1974; of the measurement itself, Ward 2012).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from medldm.data import Acquisition
from medldm.inference.capabilities import HasSurrogate
from medldm.inference.coupled import Coupled
from medldm.inference.gaussian import Gaussian
from medldm.inference.likelihood import Likelihood
from medldm.inference.noise import Noise
from medldm.inference.weighted_gaussian import WeightedGaussian

_SHARE, _LEAST = 0.1, 2


@runtime_checkable
class CanWithhold(Protocol):
    """A physics that knows which of its samples can be spared together."""

    def withheld(self, acquisition: Acquisition, noise: Noise) -> Tensor:
        """1 for the samples to be withheld, 0 for others; broadcastable to the measurement.

        Whole lines or views, since single samples are told by their neighbours; about a tenth of what was measured, and
        nothing that operator or start image are made of (calibration lines).

        Args:
            acquisition: the measurement.
            noise: which of them is drawn.
        """
        ...


def tenth_of(candidates: Tensor, noise: Noise, *, measured: int) -> Tensor:
    """A tenth of the lines, shots or views that may be withheld, at least two, (candidate,): 1 where drawn.

    Drawn at random, since equal steps would alias.

    Args:
        candidates: bool.
        noise: which of them is drawn.
        measured: how many there are with those that are no candidates; one is left of them.
    """
    places = candidates.nonzero().flatten().cpu()
    many = min(len(places), measured - 1, max(_LEAST, round(_SHARE * len(places))))
    order = torch.from_numpy(noise.stream("withheld").permutation(len(places))[:many])
    drawn = torch.zeros(len(candidates))
    drawn[places[order]] = 1
    return drawn


def without(likelihood: Likelihood, withheld: Tensor) -> Likelihood | None:
    """The likelihood of all samples but those withheld; None where it is not Gaussian and has no Gaussian stand-in.

    Args:
        likelihood: of the image.
        withheld: 1 for samples withheld, broadcastable to the measurement.
    """
    if isinstance(likelihood, Coupled):
        rest = without(likelihood.likelihood, withheld)
        return None if rest is None else replace(likelihood, likelihood=rest)
    if isinstance(likelihood, HasSurrogate):
        return without(likelihood.surrogate(), withheld)
    if not isinstance(likelihood, (Gaussian, WeightedGaussian)):
        return None
    weights = likelihood.weights * (1 - withheld.to(likelihood.weights))
    return WeightedGaussian(likelihood.operator, likelihood.measurement, weights)


def residual(likelihood: Likelihood, u: Tensor, withheld: Tensor) -> Tensor:
    """Weighted residual of the samples withheld, ``(withheld W)^(1/2) (A u - y)``; (*batch, *codomain).

    Of a likelihood that is not Gaussian that of its stand-in, as in :func:`without`.
    """
    if isinstance(likelihood, HasSurrogate):
        likelihood = likelihood.surrogate()
    weights = (likelihood.weights * withheld.to(likelihood.weights)).sqrt()
    return (likelihood.operator(u) - likelihood.measurement) * weights


def mixing_share(first: Tensor, second: Tensor) -> float:
    """The share ``b`` in 0 to 1 for which ``(1 - b) first + b second`` is smallest, by least squares.

    Args:
        first: residual of one image.
        second: of the other.
    """
    step = second - first
    size = float(step.abs().square().sum())
    if size == 0:
        return 0.0
    return min(1.0, max(0.0, -float((step.conj() * first).real.sum()) / size))
