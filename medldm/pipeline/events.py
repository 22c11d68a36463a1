"""What the pipeline tells while it works: one line per stage, and the steps of a solver."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("medldm")


@dataclass(frozen=True)
class Event:
    """One thing the pipeline did or noticed.

    Attributes:
        stage: ``read``, ``simulate``, ``operator``, ``start``, ``solve``, ``write``, ``warning``, ``done``, ...
        message: one sentence without a patient's data.
        fields: the numbers behind it, plain JSON. ``index`` and ``total`` mark progress. ``done`` has ``chi`` and the
            metrics, and where the work was done before, so that it is the only event, ``path`` of the folder, which
            ``write`` has else.
    """

    stage: str
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


class Warnings:
    """A listener that keeps the warnings of a run for its record, each once."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def __call__(self, event: Event) -> None:
        """Hear one event."""
        if event.stage == "warning" and event.message not in self.sentences:
            self.sentences.append(event.message)


@dataclass(frozen=True)
class Teller:
    """Sends events to the listeners of a run and, as one line each, to the log."""

    listeners: tuple[Listener, ...] = ()

    def __call__(self, stage: str, message: str, /, **fields: Any) -> None:
        """Tell of one thing."""
        event = Event(stage, message, fields)
        log.log(logging.DEBUG if stage == "step" else logging.INFO, "%s: %s", stage, message)
        for listener in self.listeners:
            listener(event)
