"""What happened to an image or a measurement, in order, so that it can be told and repeated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from medldm.errors import Problem

_NOTICED = "noticed"
_ASSUMED = "orientation-assumed"


@dataclass(frozen=True)
class Event:
    """One thing done, with the numbers needed to do it again. Never a patient's data."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """An immutable list of events; ``history.then("untilt", degrees=18.5)`` gives a longer one."""

    events: tuple[Event, ...] = ()

    def then(self, name: str, /, **settings: Any) -> History:
        """This history and one event more."""
        return History((*self.events, Event(name, settings)))

    def noticed(self, problems: Iterable[Problem]) -> History:
        """This history and what a reader noticed without refusing, each once; errors refuse when read and are left out.

        The sentences stand in logs, reports and provenance: neither they nor the remedies name a file or a patient.
        """
        history = self
        for problem in dict.fromkeys(problems):
            if problem.severity != "error" and problem not in self.problems:
                history = history.then(_NOTICED, **asdict(problem))
        return history

    def orientation_assumed(self) -> History:
        """This history, of a scan whose file does not say how the patient lies: pictures then have no R and no L."""
        return self.then(_ASSUMED)

    @property
    def orientation_known(self) -> bool:
        """Whether the axes of the grid are known to be those of the patient."""
        return all(event.name != _ASSUMED for event in self.events)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What :meth:`noticed` was told, in order."""
        return tuple(Problem(**event.settings) for event in self.events if event.name == _NOTICED)

    def as_list(self) -> list[dict[str, Any]]:
        """The events as JSON objects."""
        return [{"event": event.name, **event.settings} for event in self.events]

    @classmethod
    def from_list(cls, events: list[dict[str, Any]]) -> History:
        """The inverse of :meth:`as_list`."""
        return cls(tuple(Event(e["event"], {k: v for k, v in e.items() if k != "event"}) for e in events))
