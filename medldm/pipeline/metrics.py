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
_OF_PLUGINS = ("E-PLG-", "E-OPT-")
_log = logging.getLogger(__name__)


@runtime_checkable
class HasCurves(Protocol):
    """A metric that also has a value for each slice, or for each pair of neighbours."""

    def curves(self, estimate: Volume, truth: Volume) -> Mapping[str, Sequence[float]]:
        """Along the tensor's slice axis; NaN where there is none."""
        ...


def compare(host: Host, estimate: Volume, truth: Volume | None) -> dict[str, float]:
    """Every registered metric that exists here, infinite decibels of an exact match too; empty without a truth."""
    if truth is None:
        return {}
    require_one_grid(estimate.grid, truth.grid)
    values: dict[str, float] = {}
    for entry in host.entries("metrics"):
        with _left_out_where_broken(entry):
            metric = cast(Callable[[Volume, Volume], Mapping[str, float]], host.build("metrics", entry.name, {}))
            _add(values, {name: float(value) for name, value in metric(estimate, truth).items()}, entry)
    return {name: value for name, value in values.items() if not math.isnan(value)}


def compare_finite(host: Host, estimate: Volume, truth: Volume | None) -> dict[str, float]:
    """:func:`compare` for a record: without infinities, which JSON and means over scans have no place for."""
    return {name: value for name, value in compare(host, estimate, truth).items() if math.isfinite(value)}


def compare_slices(host: Host, estimate: Volume, truth: Volume | None) -> dict[str, list[float | None]]:
    """The curves of every registered metric that has any, as plain JSON: None where a slice has no value."""
    if truth is None:
        return {}
    found: dict[str, list[float | None]] = {}
    for entry in host.entries("metrics"):
        with _left_out_where_broken(entry):
            metric = host.build("metrics", entry.name, {})
            if isinstance(metric, HasCurves):
                curves = {name: _plain(curve) for name, curve in metric.curves(estimate, truth).items()}
                _add(found, curves, entry)
    return found


def _plain(curve: Sequence[float]) -> list[float | None]:
    return [round(value, 4) if math.isfinite(value) else None for value in map(float, curve)]


def _add(values: dict[str, T], more: Mapping[str, T], entry: Entry) -> None:
    """A name belongs to the metric that comes first, and those that come with medldm do."""
    for name in more:
        if name in values:
            _log.warning("%r is a value of another metric; that of %s is left out", name, _who(entry))
    values.update({name: value for name, value in more.items() if name not in values})


@contextmanager
def _left_out_where_broken(entry: Entry) -> Iterator[None]:
    """A metric that fails has no values, and the image and the others have theirs; a refusal is one."""
    try:
        yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except MedldmError as refusal:
        if not refusal.code.startswith(_OF_PLUGINS):
            raise
        _log.warning("%s has no values: %s", _who(entry), refusal)
    except BaseException as error:
        _log.warning("%s has no values: %s: %s", _who(entry), type(error).__name__, error)


def _who(entry: Entry) -> str:
    return f"the metric {entry.name!r} of the plugin {entry.plugin!r}"
