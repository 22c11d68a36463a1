"""How a solver came to its result: its noise levels, and how much each step changed the estimate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from medldm.inference import Step

# Of the estimate, evenly spread; and of the steps that the record keeps.
_VOXELS, _POINTS = 2**16, 400


class Convergence:
    """Observer: ``|u_k - u_(k-1)| / |u_k|`` of the estimates of the first sample, on a part of their voxels.

    Args:
        samples: of the run, which are drawn in groups one after another.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._steps: list[tuple[int, float | None, float | None]] = []
        self._before: Tensor | None = None

    def __call__(self, step: Step) -> None:
        """Observe one step."""
        number, own_steps = (step.index + 1) // len(step.estimate), step.total // self._samples
        if number > own_steps:
            return  # of a later group
        seen = step.estimate[0].detach().flatten()
        seen = seen[:: max(1, len(seen) // _VOXELS)].clone()
        if self._before is not None:
            change = float(torch.linalg.vector_norm(seen - self._before) / torch.linalg.vector_norm(seen))
            self._steps.append((number, _short(change), None if step.sigma is None else _short(float(step.sigma))))
        self._before = seen

    def as_record(self) -> dict[str, Any]:
        """For ``run.json``; thinned out where there are very many steps, empty where there are less than two."""
        kept = self._steps[:: max(1, -(-len(self._steps) // _POINTS))]
        if not kept:
            return {}
        numbers, changes, sigmas = zip(*kept, strict=True)
        found: dict[str, Any] = {"step": list(numbers), "change": list(changes)}
        if any(sigma is not None for sigma in sigmas):
            found["sigma"] = list(sigmas)
        return found


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
