"""All registered metrics of an image against a reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

from medldm.data import Volume
from medldm.errors import InputRefused
from medldm.host import Host


def compare(host: Host, estimate: Volume, truth: Volume | None) -> dict[str, float]:
    """Every registered metric; empty without a truth."""
    if truth is None:
        return {}
    if estimate.grid.shape != truth.grid.shape:
        raise InputRefused(
            "E-EVAL-01",
            f"The image has {estimate.grid.shape} voxels and the truth {truth.grid.shape}.",
            why="Metrics compare voxel by voxel; nothing is resampled in silence.",
            fix="Bring both onto one grid first.",
        )
    if estimate.grid != truth.grid:
        raise InputRefused(
            "E-EVAL-02",
            "The image and the truth have the same shape but lie in different places.",
            fix="Check the geometry of both with medldm inspect.",
        )
    values: dict[str, float] = {}
    for entry in host.entries("metrics"):
        metric = cast(Callable[[Volume, Volume], Mapping[str, float]], host.build("metrics", entry.name, {}))
        values.update({name: float(value) for name, value in metric(estimate, truth).items()})
    return {name: value for name, value in values.items() if math.isfinite(value)}
