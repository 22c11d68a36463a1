"""Do neighbouring slices differ as much as they should?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medldm.data import Volume
from medldm_metrics.window import pair


def slice_differences(estimate: Volume, truth: Volume) -> tuple[Tensor, Tensor]:
    """Sums of ``|x[z + 1] - x[z]|`` for each pair of neighbouring slices, of the estimate and of the truth.

    Only voxels that count in both slices enter (:mod:`medldm_metrics.window`).

    Returns:
        two (z - 1,) float64 tensors in units of the image.
    """
    images = pair(estimate, truth)
    n = images.truth.shape[0]
    sums = torch.zeros((2, max(n - 1, 0)), dtype=torch.float64)
    for k in range(n - 1):
        for row, image in enumerate((images.estimate, images.truth)):
            difference = (image[k + 1] - image[k]).abs().double()
            if images.inside is not None:
                difference = difference * (images.inside[k] & images.inside[k + 1])
            sums[row, k] = difference.sum()
    return sums[0], sums[1]


def dz_curve(estimate: Volume, truth: Volume) -> Tensor:
    """The ratio for each pair of neighbouring slices, (z - 1,) float64; NaN where the truth's slices are equal."""
    shown, true = slice_differences(estimate, truth)
    return torch.where(true > 0, shown / torch.where(true > 0, true, 1.0), torch.nan)


@dataclass(frozen=True)
class DzRatio:
    """``mean |D_z estimate| / mean |D_z truth|`` along the tensor's slice axis.

    1 is right for a single sample; below, the slices are smeared into each other (a posterior mean lies there
    rightly); above, they flicker.
    """

    def __call__(self, estimate: Volume, truth: Volume) -> dict[str, float]:
        """``dz_ratio``; absent for a single slice and where the truth does not change along z."""
        shown, true = slice_differences(estimate, truth)
        total = float(true.sum())
        return {"dz_ratio": float(shown.sum()) / total} if total > 0 else {}

    def curves(self, estimate: Volume, truth: Volume) -> dict[str, list[float]]:
        """``dz_ratio`` of each pair of neighbouring slices, see :func:`dz_curve`."""
        return {"dz_ratio": dz_curve(estimate, truth).tolist()}
