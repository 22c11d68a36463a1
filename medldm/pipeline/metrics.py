"""All registered metrics of an image against a reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast, runtime_checkable

from medldm.data import Volume
from medldm.host import Host
from medldm.pipeline.reference import require_one_grid


@runtime_checkable
class HasCurves(Protocol):
    """A metric that also has a value for each slice, or for each pair of neighbours."""

    def curves(self, estimate: Volume, truth: Volume) -> Mapping[str, Sequence[float]]:
        """Along the tensor's slice axis; NaN where there is none."""
        ...


def compare(host: Host, estimate: Volume, truth: Volume | None) -> dict[str, float]:
    """Every value that exists here, infinite decibels of an exact match too; empty without a truth."""
    values = joined(values_by_metric(host, estimate, truth))
    return {name: value for name, value in values.items() if not math.isnan(value)}


def compare_finite(host: Host, estimate: Volume, truth: Volume | None) -> dict[str, float]:
    """:func:`compare` for a record: without infinities, which JSON and means over scans have no place for."""
    return joined(finite_by_metric(host, estimate, truth))


def finite_by_metric(host: Host, estimate: Volume, truth: Volume | None) -> dict[str, dict[str, float]]:
    """The values of :func:`compare_finite` by the metric they are of; without the metrics that have none here."""
    taken = {
        metric: {name: value for name, value in values.items() if math.isfinite(value)}
        for metric, values in values_by_metric(host, estimate, truth).items()
    }
    return {metric: values for metric, values in taken.items() if values}


def values_by_metric(host: Host, estimate: Volume, truth: Volume | None) -> dict[str, dict[str, float]]:
    """What every registered metric returns, by its name; empty without a truth."""
    if truth is None:
        return {}
    require_one_grid(estimate.grid, truth.grid)
    found: dict[str, dict[str, float]] = {}
    for entry in host.entries("metrics"):
        metric = cast(Callable[[Volume, Volume], Mapping[str, float]], host.build("metrics", entry.name, {}))
        found[entry.name] = {name: float(value) for name, value in metric(estimate, truth).items()}
    return found


def joined(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The values of all metrics as one table."""
    return {name: value for of_one in values.values() for name, value in of_one.items()}


def compare_slices(host: Host, estimate: Volume, truth: Volume | None) -> dict[str, list[float | None]]:
    """The curves of every registered metric that has any, as plain JSON: None where a slice has no value."""
    if truth is None:
        return {}
    found: dict[str, list[float | None]] = {}
    for entry in host.entries("metrics"):
        metric = host.build("metrics", entry.name, {})
        if isinstance(metric, HasCurves):
            for name, curve in metric.curves(estimate, truth).items():
                found[name] = [round(value, 4) if math.isfinite(value) else None for value in map(float, curve)]
    return found
