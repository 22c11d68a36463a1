"""What the coordinator sends to a worker and what comes back: plain JSON, no arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from medldm.batch.row import Row
from medldm.batch.settings import Settings
from medldm.batch.workplace import Workplace

# `refused`: as it is the scan never works. `failed`: it may at the next attempt. `memory`: in smaller pieces.
# `stopped`: cancelled, its state saved. `busy`: another process holds it. `lost`: the worker is gone.
Kind = Literal["done", "gate-failed", "refused", "failed", "memory", "disk-full", "stopped", "busy", "lost"]


@dataclass(frozen=True)
class Order:
    """One attempt at one scan.

    Attributes:
        key: of the row.
        token: of this attempt.
        attempt: its number, from 1.
        level: how many times the slices at once are halved.
        row: what.
        recipe: resolved, see :func:`medldm.batch.settings.as_order`.
        plan: the job without the content of the input.
        settings: of the batch.
        place: where.
    """

    key: str
    token: str
    attempt: int
    level: int
    row: Row
    recipe: Mapping[str, Any]
    plan: Mapping[str, Any]
    settings: Settings
    place: Workplace

    @property
    def work(self) -> Path:
        """Folder of work."""
        return self.place.work(self.key)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "key": self.key,
            "token": self.token,
            "attempt": self.attempt,
            "level": self.level,
            "row": self.row.as_dict(),
            "recipe": dict(self.recipe),
            "plan": dict(self.plan),
            "settings": self.settings.as_json(),
            "place": {"out": str(self.place.out), "bids": self.place.bids, "anonymous": self.place.anonymous},
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Order:
        """The order that :meth:`as_dict` gave."""
        place = fields["place"]
        return cls(
            **{name: fields[name] for name in ("key", "token", "attempt", "level", "recipe", "plan")},
            row=Row.from_dict(fields["row"]),
            settings=Settings.from_json(fields["settings"]),
            place=Workplace(Path(place["out"]), place["bids"], place["anonymous"]),
        )


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        key: of the row.
        token: of the attempt.
        kind: what became of it.
        code, reason: of a failure.
        name: of the result.
        job: its identity.
        mark: fingerprint of the input.
        hash: sha256 of the result's manifest.
        seconds: that it took.
        again: the result was there already.
        deaths: workers that were lost over it.
    """

    key: str
    token: str
    kind: Kind
    code: str = ""
    reason: str = ""
    name: str = ""
    job: str = ""
    mark: str = ""
    hash: str = ""
    seconds: float = 0.0
    again: bool = False
    deaths: int = 0

    def after(self, seconds: float) -> Outcome:
        """The outcome with its time."""
        return replace(self, seconds=seconds)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)
