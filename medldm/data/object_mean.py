"""The mean signal of what was imaged, without the air around it."""

from __future__ import annotations

from torch import Tensor

# A voxel belongs to the object when its magnitude is above this part of the 99th percentile.
OBJECT_THRESHOLD = 0.1


def object_mean(image: Tensor) -> float:
    """Mean magnitude of the voxels above a tenth of the 99th percentile; 0 for an empty image.

    Args:
        image: real or complex, of any shape; not in HU, whose zero is water.
    """
    magnitude = image.abs().flatten()
    # Selection instead of torch.quantile, which refuses large volumes.
    high = magnitude.kthvalue(max(1, round(0.99 * magnitude.numel()))).values
    inside = magnitude[magnitude > OBJECT_THRESHOLD * high]
    return float(inside.double().mean()) if inside.numel() else 0.0
