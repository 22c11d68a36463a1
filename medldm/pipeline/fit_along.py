"""How an image explains its measurement along the axes of the measurement: views, lines, coils."""

from __future__ import annotations

import math

from torch import Tensor

from medldm.inference import Likelihood
from medldm.inference.misfit import HasMisfit

# A curve of more points than this says no more.
_MOST_POINTS = 2048


def chi_along(likelihood: Likelihood, estimate: Tensor) -> dict[str, list[float | None]]:
    """``chi`` of each view, line, coil, ...: squared weighted residual over its degrees of freedom.

    Args:
        likelihood: of the estimate.
        estimate: (z, y, x) in the likelihood's unit.

    Returns:
        By the names of the measurement's axes but slices and the last, along which samples are read out; None where
        nothing was measured. Empty where the likelihood does not tell the parts of its chi.
    """
    if not isinstance(likelihood, HasMisfit):
        return {}
    codomain = likelihood.operator.codomain
    misfit = likelihood.misfit(estimate[None])[0]
    degrees = likelihood.components.expand(likelihood.measurement.shape)
    found: dict[str, list[float | None]] = {}
    for axis, name in enumerate(codomain.axes[:-1]):
        if name == "z" or not 1 < codomain.shape[axis] <= _MOST_POINTS:
            continue
        others = [k for k in range(len(codomain.axes)) if k != axis]
        values = (misfit.sum(others) / degrees.sum(others)).tolist()
        found[name] = [round(value, 4) if math.isfinite(value) else None for value in values]
    return found
