"""How alike neighbouring slices are: a look at slice coherence that needs no truth."""

from __future__ import annotations

import math

import torch

from medldm.data import Volume


def slice_likeness(volume: Volume) -> list[float | None]:
    """Correlation coefficient of each slice with the next, (slices - 1,); None where a slice is constant.

    Slices of a reconstruction that flicker are less alike than those of the object; slices that were smoothed together
    are more alike.
    """
    data = volume.data.abs() if volume.data.is_complex() else volume.data
    slices = data.flatten(1).double()
    slices = slices - slices.mean(1, keepdim=True)
    lengths = torch.linalg.vector_norm(slices, dim=1)
    likeness = (slices[:-1] * slices[1:]).sum(1) / (lengths[:-1] * lengths[1:])
    return [round(value, 5) if math.isfinite(value) else None for value in likeness.tolist()]
