"""Normalised root mean square error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medldm.data import Volume
from medldm_metrics.window import pair


@dataclass(frozen=True)
class Nrmse:
    """``|e| / |x|`` over the voxels that count; for CT ``x`` is HU + 1000, which is proportional to attenuation."""

    def __call__(self, estimate: Volume, truth: Volume) -> dict[str, float]:
        """``nrmse``; absent where the truth has norm zero in its window."""
        error = norm = 0.0
        for shown, true, inside in pair(estimate, truth).slabs():
            error += float(((shown - true).abs().double().square() * inside).sum())
            norm += float((true.abs().double().square() * inside).sum())
        return {"nrmse": math.sqrt(error / norm)} if norm > 0 else {}
