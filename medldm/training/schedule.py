"""The learning rate over a run: warm-up, level, cool-down."""

from __future__ import annotations

from medldm.training.config import OptimiserOptions, RunOptions


def learning_rate(step: int, optimiser: OptimiserOptions, run: RunOptions) -> float:
    """The rate of a step (Zhai et al. 2022): linear up, constant, linear down to zero at the end.

    The level part does not know how long the run is, so a run can be made longer by resuming it.
    """
    up = min(1.0, (step + 1) / max(1, optimiser.warm_up))
    left = run.steps - step
    down = left / max(1.0, run.cool_down * run.steps)
    return optimiser.rate * min(up, max(0.0, min(1.0, down)))


def cool_down_begins(run: RunOptions) -> int:
    """The first step whose rate falls."""
    return round(run.steps * (1 - run.cool_down))
