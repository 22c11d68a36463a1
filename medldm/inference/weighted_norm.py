"""The norm of an operator, and of one whose measurement is weighted: what the step of a gradient method goes by."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.inference.noise import Noise
from medldm.operators import Diagonal, LinearOperator, operator_norm

# The power method approaches the norm from below.
MARGIN = 1.02


def spectral_norm(operator: LinearOperator, noise: Noise, device: torch.device) -> float:
    """An upper estimate of ``max |A x| / |x|``: the power method's, times :data:`MARGIN`.

    Args:
        operator: ``A``.
        noise: randomness of the power method's first image, which no number of a sample changes.
        device: where the operator works.
    """
    generator = torch.Generator(device).manual_seed(int(noise.stream("operator-norm").integers(2**62)))
    return MARGIN * operator_norm(operator, generator=generator)


def weighted_norm(operator: LinearOperator, weights: Tensor, noise: Noise, device: torch.device) -> float:
    """An upper estimate of ``max |W^(1/2) A x| / |x|``; its square bounds how steeply a gradient changes.

    One weight for all samples that count leaves the operator its own, often much cheaper, gram.

    Args:
        operator: ``A``.
        weights: ``W``, the likelihood's ``weights``: broadcastable to the measurement, none negative, one over the
            unit of the measurement squared.
        noise: see :func:`spectral_norm`.
        device: where the operator works.

    Returns:
        In one over the unit of the image.
    """
    largest = weights.max()
    if bool(((weights == largest) | (weights == 0)).all()):
        return spectral_norm(operator, noise, device) * float(largest.sqrt())
    return spectral_norm(Diagonal(operator.codomain, weights.sqrt()) @ operator, noise, device)
