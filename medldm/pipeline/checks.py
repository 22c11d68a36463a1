"""What must hold before a result counts: finite values, and the gates that the recipe sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medldm.errors import GateFailed

# Standard deviations of chi that chance may add to a limit: sqrt(2 / dof) each.
_CHANCE = 5.0
# The limit of chi for warnings where the recipe states none.
_MODEL_ERROR = 2.0


def check_finite(estimate: Tensor) -> None:
    """Refuse an estimate with NaN or infinity before anything of it is written."""
    bad = int((~torch.isfinite(estimate)).sum())
    if bad:
        raise GateFailed(
            "E-GATE-01",
            f"The reconstruction diverged: {bad} of {estimate.numel()} voxels are NaN or infinite.",
            why="The step size or a weight does not suit this measurement.",
            fix="Try the default hyper-parameters of the recipe, and report the case if they fail too.",
        )


def check_chi(chi: Tensor) -> None:
    """Refuse images so far from their measurement that their misfit is no number.

    The images may be finite: the squares of their residuals need not be, in single precision.

    Args:
        chi: (sample,).
    """
    bad = chi[~torch.isfinite(chi)]
    if len(bad):
        raise GateFailed(
            "E-GATE-01",
            f"The reconstruction diverged: its misfit to the measurement, chi, is {float(bad[0])}.",
            why="Squares of the misfit to the measurement pass what single precision holds.",
            fix="Try the default hyper-parameters of the recipe, and report the case if they fail too.",
        )


@dataclass(frozen=True)
class Fit:
    """How each sample explains its measurement.

    Attributes:
        chi: squared weighted residual per degree of freedom, of each sample.
        slices: of each sample the same of its slices; empty where no residual belongs to a slice, None in place of a
            slice without measurement.
        degrees: of freedom of the whole measurement; None where the likelihood does not tell.
    """

    chi: list[float]
    slices: list[list[float | None]]
    degrees: int | None

    def named(self, samples: Sequence[int]) -> str:
        """What chi is of these samples: ``chi of samples 0 to 2 is 1.9 to 2.1``; ``chi is 1.9`` of the only one."""
        values = [f"{self.chi[sample]:.3g}" for sample in sorted(samples, key=lambda sample: self.chi[sample])]
        whose = "" if len(self.chi) == 1 else f" of sample{'s' * (len(samples) > 1)} {_ranges(samples)}"
        return f"chi{whose} is {' to '.join(dict.fromkeys((values[0], values[-1])))}"

    def chance(self, slices: int = 1) -> float:
        """What chance may add to chi or take from it, of the whole or of one slice: five standard deviations."""
        return _CHANCE * math.sqrt(2 * slices / self.degrees) if self.degrees else 0.0


def failed_gates(fit: Fit, gates: Mapping[str, Any]) -> list[str]:
    """A sentence for each gate that a sample fails.

    Every sample is held against the measurement, not their mean: its chi may be ``chi_max``, which is 1 with the stated
    error of the model, and what chance adds.
    """
    limit = gates.get("chi_max")
    if limit is None:
        return []
    bad = [sample for sample, value in enumerate(fit.chi) if not value <= float(limit) + fit.chance()]
    if not bad:
        return []
    return [
        f"{fit.named(bad)}, above chi_max {float(limit):g}: the image does not explain its measurement within the "
        "noise."
    ]


def doubts(fit: Fit, gates: Mapping[str, Any], *, exact: bool) -> list[str]:
    """What is no failure but worth a warning: what does not fit and no gate holds, samples that fit the noise.

    Args:
        fit: of the samples.
        gates: of the recipe.
        exact: whether the samples are said to be those of the posterior. Only then is a small chi a fault: that of an
            estimate is below 1 by the voxels that it fits, over the degrees of freedom.
    """
    found = []
    limit = float(gates.get("chi_max", _MODEL_ERROR))
    low = [sample for sample, value in enumerate(fit.chi) if value < 1 / limit - fit.chance()]
    if exact and low:
        found.append(f"{fit.named(low)}, far below 1: the noise is fitted, or it is stated too large")
    if "chi_max" not in gates:
        high = [sample for sample, value in enumerate(fit.chi) if not value <= limit + fit.chance()]
        if high:
            found.append(f"{fit.named(high)}, above {limit:g}: the image does not explain its measurement")
    else:
        bad = {
            z
            for curve in fit.slices
            for z, value in enumerate(curve)
            if value is not None and not value <= limit + fit.chance(len(curve))
        }
        if bad:
            slices, they = ("slice", "it does") if len(bad) == 1 else ("slices", "they do")
            where = f"{slices} {_ranges(sorted(bad))} (chi_slices in run.json)"
            found.append(f"chi is above {limit:g} in {where}: {they} not fit")
    return found


def require_passed(sentences: Sequence[str]) -> None:
    """Raise :class:`GateFailed` (exit code 6) with all failed gates; the files are written already, and say so."""
    if sentences:
        raise GateFailed(
            "E-GATE-02",
            " ".join(sentences),
            why="The files are written and their record says that a gate failed.",
            fix="Check the noise level and the physics of the recipe before using the image.",
        )


def _ranges(numbers: Sequence[int]) -> str:
    """``3 to 5, 9``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in parts)
