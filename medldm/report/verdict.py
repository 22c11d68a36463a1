"""Whether a reconstruction passed its checks, and why: the first thing that a report says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["failed", "warned", "passed"]
_TITLES: dict[Status, str] = {
    "failed": "Failed its quality check",
    "warned": "Passed, with warnings",
    "passed": "Passed its checks",
}


@dataclass(frozen=True)
class Verdict:
    """The outcome.

    Attributes:
        status: ``failed`` where a gate failed, ``warned`` where a warning was told.
        title: in words.
        reasons: sentences, the gravest first.
    """

    status: Status
    title: str
    reasons: tuple[str, ...]


def verdict_of(record: Mapping[str, Any]) -> Verdict:
    """The verdict on a run, from its record alone."""
    failed = [str(sentence) for sentence in record.get("gates_failed", [])]
    warnings = [str(sentence) for sentence in record.get("warnings", [])]
    status: Status = "failed" if failed else "warned" if warnings else "passed"
    limit = record.get("recipe", {}).get("outputs", {}).get("gates", {}).get("chi_max")
    chi = [float(value) for value in record.get("chi", [])]
    reasons = [*failed, *warnings]
    if limit is None:
        reasons.append("The recipe sets no limit on the misfit, so none was checked (outputs.gates.chi_max).")
    elif not failed and chi:
        reasons.append(f"The image explains its measurement: chi is {max(chi):.3g}, the limit {float(limit):g}.")
    return Verdict(status, _TITLES[status], tuple(reasons))
