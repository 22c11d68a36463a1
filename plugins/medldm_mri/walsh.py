"""Coil maps by adaptive combination: the cheap ones (Walsh, Gmitro and Marcellin 2000, doi:10.1002/(SICI)1522-2594).

Around every pixel the coils' signals are one image times their sensitivities, so the first eigenvector of their local
covariance is the coil map. The images are those of the calibration lines, on the coarse grid that maps are smooth on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medldm_mri.espirit import COARSE_POINTS, first_eigenvectors, principal_combination
from medldm_mri.interpolation import cubic_matrix, upsample
from medldm_mri.root_sum_of_squares import root_sum_of_squares

PAPER = (
    "D. O. Walsh, A. F. Gmitro, M. W. Marcellin. Adaptive reconstruction of phased array MR imagery. Magnetic "
    "Resonance in Medicine 43(5), 682-690, 2000."
)


@dataclass(frozen=True)
class Walsh:
    """Settings of the estimate.

    Attributes:
        block: side of the neighbourhood in pixels of the calibration's own resolution.
        seen: maps are zero where the local signal is below this fraction of its 99th percentile.
    """

    block: float = 2.0
    seen: float = 0.04

    def maps(self, calibration: Tensor, shape: tuple[int, int]) -> Tensor:
        """Coil maps (z, coil, y, x): sum of squares 1 where signal was seen, 0 elsewhere.

        Args:
            calibration: the fully sampled centre of k-space (z, coil, ky, kx), frequency zero at index ``n // 2``.
            shape: of the image (y, x).
        """
        reference = principal_combination(calibration)
        points = [min(n, COARSE_POINTS) for n in shape]
        along_y, along_x = (
            cubic_matrix(p, n, dtype=calibration.real.dtype).to(calibration.device)
            for p, n in zip(points, shape, strict=True)
        )
        waves = [_waves(p, n, m, calibration) for p, n, m in zip(points, shape, calibration.shape[2:], strict=True)]
        boxes = [_box(p, self.block * p / m, calibration) for p, m in zip(points, calibration.shape[2:], strict=True)]
        maps = calibration.new_empty((*calibration.shape[:2], *shape))
        for z, data in enumerate(calibration):
            images = waves[0] @ data @ waves[1].mT
            products = images[:, None] * images.conj()
            covariance = (boxes[0] @ products @ boxes[1].mT).permute(2, 3, 0, 1).contiguous()
            energy = covariance.diagonal(dim1=-2, dim2=-1).sum(-1).real
            vectors, _ = first_eigenvectors(covariance / energy.max().clamp(min=1e-30), reference)
            smooth = upsample(vectors.permute(2, 0, 1), along_y, along_x)
            amplitude = upsample(energy.clamp(min=0).sqrt(), along_y, along_x)
            seen = amplitude > self.seen * torch.quantile(amplitude.flatten(), 0.99)
            if not bool(seen.any()):
                # Nothing was seen in this slice: as for ESPIRiT, one combination of the coils says that it is empty.
                smooth, seen = reference[:, None, None].expand_as(smooth), torch.ones_like(seen)
            torch.mul(smooth, seen / root_sum_of_squares(smooth).clamp(min=1e-12), out=maps[z])
        return maps


def _waves(points: int, n: int, samples: int, like: Tensor) -> Tensor:
    """Windowed inverse transform (point, sample) of a centred block of k-space at points ends on ends."""
    place = (torch.linspace(0, n - 1, points, dtype=torch.float64) - n // 2) / n
    frequency = torch.arange(samples, dtype=torch.float64) - samples // 2
    angle = 2 * math.pi * place[:, None] * frequency
    window = torch.cos(math.pi * frequency / (samples + 1)).square()
    return torch.polar(window.expand_as(angle), angle).to(like)


def _box(points: int, width: float, like: Tensor) -> Tensor:
    """Sum (point, point) over neighbours within half the width; complex, as what it is applied to."""
    place = torch.arange(points, dtype=torch.float64)
    near = (place[:, None] - place).abs() <= max(width, 1.0) / 2
    return near.to(like)
