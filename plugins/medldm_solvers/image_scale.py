"""The unit in which the regularisation weights of this plugin are given."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from medldm.inference import Likelihood

QUANTILE = 0.95


def image_scale(likelihood: Likelihood, start: Tensor) -> Tensor:
    """Typical bright value of the image, from data alone: the 0.95 quantile of ``|start|`` over each sample's volume.

    A penalty ``lam |L u|_1`` is the negative logarithm of a Laplacian density whose width is ``1 / lam``, so ``lam``
    has the unit 1/image and does not depend on the noise, which the likelihood carries. Giving ``lam`` in units of
    ``1 / scale`` makes one value serve images of any unit (HU, 1/mm, the arbitrary units of MR) and any noise.

    Where the start image is zero, the image is the minimiser of the data misfit along its steepest descent from zero.

    Args:
        likelihood: quadratic; asked for its operator and measurement only where the start is zero.
        start: ``(sample, z, y, x)``.

    Returns:
        ``(sample, 1, 1, 1)``, positive.
    """
    values = start.abs().flatten(1)
    if not bool(values.any()):
        operator, measurement = likelihood.operator, likelihood.measurement
        descent = operator.H(measurement)
        predicted = operator(descent)
        length = operator.codomain.inner(predicted, measurement).real / operator.codomain.norm(predicted).square()
        values = (length * descent).abs().flatten().expand(len(start), -1)
    rank = max(1, round(QUANTILE * values.shape[1]))
    scale = torch.kthvalue(values, rank, dim=1).values
    # A start that is zero but for a few voxels has no such quantile; its largest value still has the right unit.
    scale = torch.where(scale > 0, scale, values.amax(1))
    scale = torch.where(torch.isfinite(scale) & (scale > 0), scale, torch.ones_like(scale))
    return scale.reshape(-1, *(1,) * (start.ndim - 1))


def unstated_noise(likelihood: Likelihood, start: Tensor, source: Literal["stated", "start"]) -> Tensor:
    """Factor of the noise variance that the likelihood does not know of: one, or ``chi`` of the start image.

    Coil maps from few calibration lines leave a misfit far above the noise. A penalty weighed against the stated noise
    alone would then serve to fit the error of the maps. The misfit of a start image that is the best fit of the data
    without a prior (``cg-sense``) measures both together.

    Args:
        likelihood: whose ``chi`` is asked for ``start``.
        start: ``(sample, z, y, x)``.
        source: ``stated`` trusts the likelihood.

    Returns:
        ``(sample, 1, 1, 1)`` or a scalar, at least one.
    """
    if source == "stated":
        return torch.ones((), device=start.device)
    return likelihood.chi(start).clamp(min=1).reshape(-1, *(1,) * (start.ndim - 1))
