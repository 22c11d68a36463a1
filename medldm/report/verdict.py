"""Whether a reconstruction passed its checks, and why: the first thing that a report says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["failed", "warned", "unchecked", "passed"]
_TITLES: dict[Status, str] = {
    "failed": "Failed its quality check",
    "warned": "Passed, with warnings",
    "unchecked": "Not checked",
    "passed": "Passed its checks",
}


@dataclass(frozen=True)
class Verdict:
    """The outcome.

    Attributes:
        status: ``failed`` where a gate failed, ``warned`` where a warning was told, ``unchecked`` where the recipe sets
            no gate or the run has no chi to hold against it.
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
    limit = record.get("recipe", {}).get("outputs", {}).get("gates", {}).get("chi_max")
    chi = [float(value) for value in record.get("chi", [])]
    checked = limit is not None and bool(chi)
    status: Status = "failed" if failed else "warned" if warnings else "passed" if checked else "unchecked"
    reasons = [*failed, *warnings]
    if limit is None:
        reasons.append("The recipe sets no limit on the misfit, so none was checked (outputs.gates.chi_max).")
    elif not chi:
        reasons.append("The run has no chi, so no misfit was checked.")
    elif not failed:
        reasons.append(f"The image explains its measurement: chi is {max(chi):.3g}, the limit {float(limit):g}.")
    title = "Not checked, with warnings" if status == "warned" and not checked else _TITLES[status]
    return Verdict(status, title, tuple(reasons))
