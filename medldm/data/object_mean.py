"""What was imaged, without the air around it, and its mean signal."""

from __future__ import annotations

import torch
from torch import Tensor

# A voxel belongs to the object when its magnitude is above this part of the 99th percentile.
OBJECT_THRESHOLD = 0.1


def object_mask(image: Tensor) -> Tensor:
    """Where the magnitude is above a tenth of its 99th percentile.

    Args:
        image: real or complex, of any shape; zero in air, so not in HU.
    """
    magnitude = image.abs()
    flat = magnitude.flatten()
    # Selection instead of torch.quantile, which refuses large volumes.
    high = flat.kthvalue(max(1, round(0.99 * flat.numel()))).values
    return torch.gt(magnitude, OBJECT_THRESHOLD * high)


def object_mean(image: Tensor) -> float:
    """Mean magnitude of the voxels of :func:`object_mask`; 0 for an empty image.

    Args:
        image: real or complex, of any shape; not in HU, whose zero is water.
    """
    inside = image.abs()[object_mask(image)]
    return float(inside.double().mean()) if inside.numel() else 0.0
