"""What a solver of linear least squares needs of a likelihood."""

from __future__ import annotations

from torch import Tensor

from medldm.inference import Gaussian, HasSurrogate, Likelihood


def quadratic(likelihood: Likelihood) -> Likelihood:
    """The likelihood itself, or its quadratic surrogate where it has one (post-log data for photon counts)."""
    return likelihood.surrogate() if isinstance(likelihood, HasSurrogate) else likelihood


def relative_weights(likelihood: Likelihood) -> Tensor | None:
    """Weights of a quadratic likelihood over their largest; None where they are all equal.

    A common factor does not move a least-squares solution, so noise-free data are as good as any.
    """
    if isinstance(likelihood, Gaussian) and likelihood.noise_free:
        return None
    weights = likelihood.weights
    largest = weights.max()
    if bool((weights == largest).all()) or not bool(largest > 0):
        return None
    return weights / largest
