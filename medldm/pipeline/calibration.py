"""Whether the spread of the samples tells their error: coverage of intervals, error against spread."""

from __future__ import annotations

import math
from typing import Any

import torch

from medldm.data import Volume
from medldm.data.object_mean import object_mask
from medldm.data.volume import AIR_HU
from medldm.inference.interval_width import half_width

LEVELS = (0.5, 0.8, 0.95)
_BINS = 10


def calibration(mean: Volume, spread: Volume, samples: int, truth: Volume, model_error: float = 0.0) -> dict[str, Any]:
    """How the error of the mean of the samples compares with their spread, inside the object.

    Coverage is the part of the voxels whose truth lies within the predictive interval, see
    :func:`medldm.inference.interval_width.half_width`; it should be the level. The calibration ratio is ``rms error /
    (rms spread sqrt(1 + 1/n))``, which is 1 where the truth is as good as one more sample: above, the spread is too
    small. It is of the spread alone, whatever model error the intervals have. Both hold of all voxels together, and
    of no single one.

    Args:
        mean: of the samples.
        spread: their standard deviation, ``n - 1`` in the denominator, on the same grid in the same unit.
        samples: ``n``, at least two.
        truth: on the same grid in the same unit; the object is where it is above a tenth of its 99th percentile,
            counted from air.
        model_error: of the intervals, in the unit of the spread.

    Returns:
        Plain JSON: ``samples``, ``model_error``, ``coverage`` by level, ``ratio``, ``rms_error``, ``rms_spread``,
        ``voxels`` inside the object, and ``bins``: tenths of these voxels by rising spread, each with its root mean
        squares of both. Empty without a voxel.
    """
    true = truth.data.abs() if truth.data.is_complex() else truth.data
    inside = object_mask(true - AIR_HU if truth.quantity == "HU" else true)
    error = (mean.data - true)[inside].abs().double()
    width = spread.data[inside].double()
    if not error.numel():
        return {}
    factor = math.sqrt(1 + 1 / samples)
    rms_error, rms_spread = _rms(error), _rms(width)
    order = width.argsort(stable=True)
    parts = [part for part in order.tensor_split(_BINS) if len(part)]
    return {
        "samples": samples,
        "voxels": error.numel(),
        "model_error": model_error,
        "coverage": {
            str(level): float((error <= half_width(width, samples, level, model_error)).double().mean())
            for level in LEVELS
        },
        "ratio": rms_error / (factor * rms_spread) if rms_spread > 0 else None,
        "rms_error": rms_error,
        "rms_spread": rms_spread,
        "bins": [{"spread": _rms(width[p]), "error": _rms(error[p]), "voxels": len(p)} for p in parts],
    }


def _rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())
