"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medldm.data import Volume
from medldm_metrics.window import Pair, pair


def _decibel(peak: float, mean_square: float) -> float:
    return math.inf if mean_square == 0 else 10 * math.log10(peak * peak / mean_square)


def _per_slice(images: Pair) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Squared error, voxels that count and whether the truth varies, for each slice along each tensor axis."""
    shape = images.truth.shape
    device = images.truth.device
    error = [torch.zeros(n, dtype=torch.float64, device=device) for n in shape]
    count = [torch.zeros(n, dtype=torch.float64, device=device) for n in shape]
    low = [torch.full((n,), math.inf, dtype=torch.float64, device=device) for n in shape]
    high = [torch.full((n,), -math.inf, dtype=torch.float64, device=device) for n in shape]
    for k, (estimate, truth, inside) in enumerate(images.slabs()):
        square = (estimate - truth).abs().double().square() * inside
        level = truth.abs().double()
        for total, part in ((error, square), (count, inside.double())):
            total[0][k] = part.sum()
            total[1] += part.sum(1)
            total[2] += part.sum(0)
        low[0][k], high[0][k] = level.min(), level.max()
        for axis, other in ((1, 1), (2, 0)):
            low[axis] = torch.minimum(low[axis], level.amin(other))
            high[axis] = torch.maximum(high[axis], level.amax(other))
    return error, count, [h > l for h, l in zip(high, low, strict=True)]


@dataclass(frozen=True)
class Psnr:
    """``10 log10(range^2 / mean |e|^2)`` in dB, the range being that of :mod:`medldm_metrics.window`.

    ``psnr`` pools all voxels of the volume. ``psnr_axial``, ``psnr_coronal`` and ``psnr_sagittal`` are means over
    the slices of a plane of each slice's own PSNR, with the volume's range; slices in which the truth is constant, or
    that the estimate meets exactly, are left out, and a plane whose slices are one voxel wide is absent.
    """

    def __call__(self, estimate: Volume, truth: Volume) -> dict[str, float]:
        """``psnr``, ``psnr_axial``, ``psnr_coronal``, ``psnr_sagittal``; infinite for the truth itself."""
        images = pair(estimate, truth)
        error, count, varies = _per_slice(images)
        values = {"psnr": _decibel(images.data_range, float(error[0].sum() / count[0].sum()))}
        for name, axis in images.planes.items():
            if min(n for a, n in enumerate(images.truth.shape) if a != axis) < 2:
                continue
            chosen = varies[axis] & (count[axis] > 0) & (error[axis] > 0)
            mean_squares = (error[axis] / count[axis])[chosen]
            decibels = [_decibel(images.data_range, float(m)) for m in mean_squares]
            if decibels:
                values[f"psnr_{name}"] = sum(decibels) / len(decibels)
            elif values["psnr"] == math.inf:
                values[f"psnr_{name}"] = math.inf
        return values

    def curves(self, estimate: Volume, truth: Volume) -> dict[str, list[float]]:
        """``psnr`` of each slice with the volume's range; NaN where nothing counts or nothing differs."""
        images = pair(estimate, truth)
        error, count, _ = _per_slice(images)
        told = zip(error[0].tolist(), count[0].tolist(), strict=True)
        return {"psnr": [_decibel(images.data_range, e / n) if e > 0 and n > 0 else math.nan for e, n in told]}
