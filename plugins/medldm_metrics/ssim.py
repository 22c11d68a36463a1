"""Structural similarity of slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from medldm.data import Volume
from medldm_metrics.window import Pair, pair

_PAPER = (
    "Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli. Image quality assessment: from error visibility to "
    "structural similarity. IEEE Transactions on Image Processing 13(4), 600-612, 2004."
)
# Z. Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE TIP 13(4), 2004.
K1, K2 = 0.01, 0.03
SIGMA, SIZE = 1.5, 11
_VOXELS_AT_ONCE = 2**20


def _window(like: Tensor) -> Tensor:
    offsets = torch.arange(SIZE, dtype=torch.float64) - SIZE // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    return (weights / weights.sum()).to(like)


def _filtered(x: Tensor) -> Tensor:
    """Gaussian means of ``(n, rows, columns)`` where the window fits, separably."""
    weights = _window(x)
    for dim in (1, 2):
        kept = x.shape[dim] - SIZE + 1
        # The window is symmetric: opposite samples share a product.
        total = weights[SIZE // 2] * x.narrow(dim, SIZE // 2, kept)
        for i in range(SIZE // 2):
            total.add_(x.narrow(dim, i, kept) + x.narrow(dim, SIZE - 1 - i, kept), alpha=float(weights[i]))
        x = total
    return x


def ssim_map(a: Tensor, b: Tensor, data_range: float) -> Tensor:
    """SSIM of slices where the window fits.

    Args:
        a: (n, rows, columns) real; rows and columns at least 11.
        b: of the same shape and dtype.
        data_range: peak of the images.

    Returns:
        (n, rows - 10, columns - 10). Gaussian window of 11 x 11 and sigma 1.5, K1 = 0.01, K2 = 0.03, population
        covariances (Wang et al. 2004, eq. 13 to 16).
    """
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_a, mean_b = _filtered(a), _filtered(b)
    product = mean_a * mean_b
    squares = mean_a.square_().add_(mean_b.square_())
    # Only the sum of both variances enters, so one filtering serves the two.
    variances = _filtered(a.square() + b.square()) - squares
    covariance = _filtered(a * b) - product
    return ((2 * product + c1) * (2 * covariance + c2)) / ((squares + c1) * (variances + c2))


def _plane_mean(images: Pair, axis: int) -> float | None:
    estimate, truth = (image.movedim(axis, 0) for image in (images.estimate, images.truth))
    inside = None if images.inside is None else images.inside.movedim(axis, 0)
    margin = SIZE // 2
    total, count = 0.0, 0
    step = max(1, _VOXELS_AT_ONCE // (truth.shape[1] * truth.shape[2]))
    for start in range(0, truth.shape[0], step):
        part = slice(start, start + step)
        # Values of the order of 1 keep float32 accurate in E[x^2] - E[x]^2.
        a, b = (image[part].contiguous() / images.data_range for image in (estimate, truth))
        values = ssim_map(a, b, 1.0).double()
        if inside is None:
            total, count = total + float(values.sum()), count + values.numel()
        else:
            centres = inside[part, margin:-margin, margin:-margin]
            total, count = total + float(values[centres].sum()), count + int(centres.sum())
    return total / count if count else None


@dataclass(frozen=True)
class Ssim:
    """SSIM of 2-D slices (Wang et al. 2004), the range and window being those of :mod:`medldm_metrics.window`.

    The mean over all window positions that fit into the slices of a plane; in CT those whose centre lies inside the
    field of view, everything outside being air in both images. Complex images are compared by magnitude. A plane in
    whose slices no window of 11 x 11 voxels fits is absent.
    """

    references: ClassVar[tuple[str, ...]] = (_PAPER,)

    def __call__(self, estimate: Volume, truth: Volume) -> dict[str, float]:
        """``ssim_axial``, ``ssim_coronal``, ``ssim_sagittal`` and their mean ``ssim``."""
        images = pair(estimate, truth).magnitudes()
        values = {}
        for name, axis in images.planes.items():
            if min(n for a, n in enumerate(images.truth.shape) if a != axis) >= SIZE:
                mean = _plane_mean(images, axis)
                if mean is not None:
                    values[f"ssim_{name}"] = mean
        return {"ssim": sum(values.values()) / len(values)} | values if values else {}
