"""All registered metrics of an image against a reference."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar, cast, runtime_checkable

from medldm.data import Volume
from medldm.errors import MedldmError
from medldm.host import Entry, Host
from medldm.pipeline.reference import require_one_grid

T = TypeVar("T")
_log = logging.getLogger(__name__)


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
    """What every registered metric returns, by its name, broken ones left out; empty without a truth."""
    if truth is None:
        return {}
    require_one_grid(estimate.grid, truth.grid)
    found: dict[str, dict[str, float]] = {}
    for entry in host.entries("metrics"):
        with _left_out_where_broken(host, entry):
            metric = cast(Callable[[Volume, Volume], Mapping[str, float]], host.build("metrics", entry.name, {}))
            values = {name: float(value) for name, value in metric(estimate, truth).items()}
            found[entry.name] = _own(values, joined(found), entry)
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
        with _left_out_where_broken(host, entry):
            metric = host.build("metrics", entry.name, {})
            if isinstance(metric, HasCurves):
                curves = {name: _plain(curve) for name, curve in metric.curves(estimate, truth).items()}
                found |= _own(curves, found, entry)
    return found


def _plain(curve: Sequence[float]) -> list[float | None]:
    return [round(value, 4) if math.isfinite(value) else None for value in map(float, curve)]


def _own(values: Mapping[str, T], taken: Mapping[str, object], entry: Entry) -> dict[str, T]:
    """Those under names not taken: a name belongs to who comes first, and metrics that come with medldm do."""
    for name in values.keys() & taken.keys():
        _log.warning("%r is a value of another metric; that of %s is left out", name, _who(entry))
    return {name: value for name, value in values.items() if name not in taken}


@contextmanager
def _left_out_where_broken(host: Host, entry: Entry) -> Iterator[None]:
    """A metric that fails has no values, the others have theirs; what shipped ones refuse is refused."""
    try:
        yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        if isinstance(error, MedldmError) and host.ships(entry):
            raise
        _log.warning("%s has no values: %s: %s", _who(entry), type(error).__name__, error)


def _who(entry: Entry) -> str:
    return f"the metric {entry.name!r} of the plugin {entry.plugin!r}"
