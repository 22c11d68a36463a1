"""The noise levels that a solver goes through with a prior."""

from __future__ import annotations

from medldm.errors import UsageError
from medldm.inference import DiffusionPrior
from medldm.inference.schedule import noise_levels

SMALLEST = 0.002


def descent(
    prior: DiffusionPrior, steps: int, *, low: float | None, high: float | None, rho: float = 7.0
) -> list[float]:
    """``steps`` levels from ``high`` down to ``low``, and a zero behind them (Karras et al. 2022, equation 5).

    Args:
        prior: whose networks know a range of levels.
        steps: network calls.
        low: the last level; None takes the prior's smallest, at least 0.002.
        high: the first; None takes the prior's largest.
        rho: exponent of the power law.

    Raises:
        UsageError: E-SOL-21 a level lies outside the range of the prior, or they do not fall.
    """
    first = prior.sigma_max if high is None else high
    last = max(prior.sigma_min, min(SMALLEST, first)) if low is None else low
    if not prior.sigma_min <= last <= first <= prior.sigma_max:
        raise UsageError(
            "E-SOL-21",
            f"Noise levels from {first:g} down to {last:g} do not suit a prior of {prior.sigma_max:g} to "
            f"{prior.sigma_min:g}.",
            why="Its network was trained between these levels, and the first level is the largest.",
            fix="Change solver.sigma_max or solver.sigma_min, or leave them to the prior.",
        )
    return [float(level) for level in noise_levels(steps, last, first, rho)]
