"""What becomes of a scan after an attempt: done, tried again later or in smaller pieces, or given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medldm.batch.claim import begun, state_mark, verdict
from medldm.batch.index import Scan
from medldm.batch.limits import MEMORY
from medldm.batch.memory_ladder import levels
from medldm.batch.order import Order, Outcome
from medldm.pipeline.recipe import from_mapping

LOST = "E-BAT-16"
_LONGEST_WAIT = 60.0
_BUSY_WAIT = 2.0


@dataclass(frozen=True)
class Next:
    """What to do with a scan.

    Attributes:
        fields: of its line in the index.
        wait: seconds before it may be begun again; None when it is settled.
    """

    fields: Mapping[str, Any]
    wait: float | None = None


def after(scan: Scan, order: Order, outcome: Outcome, saved_before: str) -> Next:
    """The consequence of an outcome.

    Args:
        scan: its line in the index, as it was when the attempt began.
        order: of the attempt.
        outcome: how it ended.
        saved_before: :func:`medldm.batch.claim.state_mark` when it began.
    """
    if outcome.kind in ("done", "gate-failed"):
        told = {
            "code": outcome.code,
            "reason": outcome.reason,
            "seconds": outcome.seconds,
            "job": outcome.job,
            "crashes": 0,
        }
        return Next({"state": outcome.kind, "name": outcome.name, "mark": outcome.mark, **told})
    if outcome.kind in ("stopped", "disk-full"):
        return Next({"state": "waiting"}, 0.0)
    if outcome.kind == "busy":
        return Next({"state": "waiting"}, _BUSY_WAIT)
    kind, code, reason, charge = outcome.kind, outcome.code, outcome.reason, max(1, outcome.deaths)
    if kind == "lost":
        if begun(order.work) != order.token:
            return Next({"state": "waiting"}, 0.0)  # it waited at a worker that died over another scan
        if (word := verdict(order.work)) is not None:
            kind, code, reason = ("memory" if word["code"] == MEMORY else "failed"), word["code"], word["reason"]
        elif state_mark(order.work) != saved_before:
            return Next({"state": "waiting"}, 0.0)  # it got on, and goes on from there
    fields: dict[str, Any] = {"code": code, "reason": reason}
    if kind == "refused":
        return Next({"state": "failed", "attempts": scan.attempts + 1, **fields})
    recipe = from_mapping(order.recipe["name"], order.recipe["sections"])
    if kind == "memory" and scan.level < levels(recipe):
        return Next({"state": "waiting", "level": scan.level + 1, **fields}, 0.0)
    attempts = scan.attempts + charge
    settings = order.settings
    if attempts >= settings.attempts:
        return Next({"state": "failed", "attempts": attempts, **fields})
    wait = min(_LONGEST_WAIT, settings.backoff * 2.0 ** (attempts - 1))
    return Next({"state": "waiting", "attempts": attempts, **fields}, wait)
