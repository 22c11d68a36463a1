"""How wide a predictive interval is: the samples' own spread, and an error of the model that all of them share.

Samples of a posterior differ by what measurement noise and prior leave open. Coil maps, a phase or a prior that are a
little wrong move all of them alike, which no number of samples shows. An error of known size from another source joins
by the rule of the Guide to the Expression of Uncertainty in Measurement (JCGM 100:2008): variances add, and the degrees
of freedom of the sum are those of Welch and Satterthwaite (annex G.4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.inference.student_t import quantile

# Student's t of so many degrees of freedom differs from the normal law by less than one per cent.
_MOST_DEGREES = 100


def half_width(spread: Tensor, samples: int, level: float, model_error: float = 0.0) -> Tensor:
    """Half the predictive interval ``t sqrt(s^2 (1 + 1/n) + b^2)`` of every voxel.

    ``t`` has ``(n - 1) (s^2 (1 + 1/n) + b^2)^2 / (s^2 (1 + 1/n))^2`` degrees of freedom, rounded down; without a model
    error these are ``n - 1``.

    Args:
        spread: ``s``, standard deviation of the samples with ``n - 1`` in the denominator.
        samples: ``n``, at least two.
        level: of the interval, 0.8 for 80 per cent.
        model_error: ``b``, standard deviation of an error that all samples share, in the unit of the spread.
    """
    sampled = spread.double().square() * (1 + 1 / samples)
    combined = sampled + model_error**2
    degrees = (samples - 1) * (combined / sampled.clamp(min=1e-300)).square()
    # A ratio of one is at times a little below it in floating point.
    whole = torch.where(sampled > 0, degrees + 1e-6, _MOST_DEGREES).clamp(max=_MOST_DEGREES).floor().long()
    factors = torch.zeros(_MOST_DEGREES + 1, dtype=torch.float64, device=spread.device)
    for count in whole.unique().tolist():
        factors[count] = quantile(level, count)
    return (factors[whole] * combined.sqrt()).to(spread.dtype)
