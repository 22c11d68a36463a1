"""What must hold before a result counts: finite values, and the gates that the recipe sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medldm.errors import GateFailed


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


def failed_gates(chi: Sequence[float], gates: Mapping[str, Any]) -> list[str]:
    """One sentence per gate that the result fails."""
    limit = gates.get("chi_max")
    if limit is None or not chi or max(chi) <= float(limit):
        return []
    return [
        f"chi is {max(chi):.3g}, above chi_max {float(limit):g}: the image does not explain its measurement "
        "within the noise."
    ]


def check_gates(chi: Sequence[float], gates: Mapping[str, Any]) -> None:
    """Raise :class:`GateFailed` (exit code 6) with all failed gates; the files are written already, and say so."""
    sentences = failed_gates(chi, gates)
    if sentences:
        raise GateFailed(
            "E-GATE-02",
            " ".join(sentences),
            why="The files are written and their record says that a gate failed.",
            fix="Check the noise level and the physics of the recipe before using the image.",
        )
