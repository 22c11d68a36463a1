"""How much of k-space each sample of a trajectory stands for: weights of the start image, never of the likelihood.

Measured noise is white, so least squares weigh every sample alike. A single adjoint is another matter: where samples
lie close together their sum counts a frequency too often.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medldm_mri.gridding import Gridding

# The kernel that the density is felt with: about one step wide, on a grid of twice the density.
_TOLERANCE, _OVERSAMPLING = 1e-2, 2.0


def pipe_menon(points: Tensor, shape: tuple[int, int], *, iterations: int = 20) -> Tensor:
    """Weights (sample,) by the iteration of Pipe and Menon (1999, MRM 41, 179): ``w <- w / (C w)``.

    ``C`` is the convolution of the samples with a kernel, evaluated at the samples. The weights add up to the area of
    the ellipse that the trajectory reaches, in Cartesian steps.

    Args:
        points: (sample, 2), ky and kx in cycles per field of view.
        shape: of the image (y, x).
        iterations: of the scheme; it has converged to a per cent after about ten.
    """
    transform = Gridding(points, shape, torch.complex128, tolerance=_TOLERANCE, oversampling=_OVERSAMPLING)
    # The signs that centre the image drop out of product and transpose; what is left is the kernel's own convolution.
    weights = torch.ones((len(points), 1), dtype=torch.float64)
    for _ in range(iterations):
        felt = transform.interpolation(transform.spreading(weights))
        weights = weights / felt.clamp(min=1e-12)
    return _scaled(weights[:, 0], points)


def ramp(points: Tensor, shots: int) -> Tensor:
    """Weights (sample,) of spokes through the centre at about equal angles: the ramp ``|k|``.

    A sample at distance k from the centre stands for ``k dk dtheta``, the one in the centre for its share of the disc
    of radius dk / 2 (Lauzon and Rutt 1996, MRM 36, 940).

    Args:
        points: (sample, 2) in cycles per field of view, shot after shot.
        shots: number of spokes.
    """
    spokes = points.double().unflatten(0, (shots, -1))
    radius = spokes.norm(dim=-1)
    step = spokes.diff(dim=1).norm(dim=-1).mean(1, keepdim=True)
    centre = step / 8
    return _scaled(torch.where(radius < step / 2, centre, radius).mul(step).flatten(), points)


def _scaled(weights: Tensor, points: Tensor) -> Tensor:
    """So that their sum is the area of the ellipse that the points reach."""
    reach = points.double().abs().amax(0)
    scaled: Tensor = weights * (torch.pi * reach.prod() / weights.sum())
    return scaled
