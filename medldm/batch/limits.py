"""Time and memory that one scan may take."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from medldm.batch.claim import write_verdict
from medldm.pipeline.events import Event
from medldm.pipeline.memory import in_words

_LOOK_SECONDS = 0.5
# A scan that is asked to stop does so after its step; one that does not is killed with its process.
_GRACE_SECONDS = 30.0
_GRACE_MEMORY = 1.25
TIME, MEMORY, CANCELLED = "E-BAT-14", "E-BAT-15", "E-BAT-18"


class OverLimit(BaseException):
    """Raised in a scan between two stages; no handler of a component may swallow it."""


class Limits:
    """Watches over one scan: asks it to stop with its state saved, and kills its process when it does not.

    Args:
        time_limit: seconds; None for none.
        memory_limit: bytes resident; None for none.
        cancel_file: its presence stops the scan.
        folder: of work, where a verdict is left before a kill; None never kills: the process is also the coordinator's.
    """

    def __init__(
        self, time_limit: float | None, memory_limit: int | None, cancel_file: Path, folder: Path | None = None
    ) -> None:
        self.time_limit, self.memory_limit, self.cancel_file, self.folder = (
            time_limit,
            memory_limit,
            cancel_file,
            folder,
        )
        self.code = ""
        self.reason = ""
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._keep_watching, daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._watch.join()

    def stop(self) -> bool:
        """Asked by the solver after each step."""
        return bool(self.code)

    def listener(self, event: Event) -> None:
        """Stops between the stages before and after the solver, which is asked by :meth:`stop`."""
        if self.code and event.stage not in ("step", "save"):
            raise OverLimit

    def _keep_watching(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            seconds = time.monotonic() - self._begun
            size = resident_bytes() if self.memory_limit is not None else 0
            if not self.code:
                self._look(seconds, size)
                asked = time.monotonic()
            elif self.folder is not None and (
                time.monotonic() - asked > _GRACE_SECONDS
                or (self.memory_limit is not None and size > _GRACE_MEMORY * self.memory_limit)
            ):
                write_verdict(self.folder, self.code, self.reason)
                os.kill(os.getpid(), signal.SIGKILL)

    def _look(self, seconds: float, size: int) -> None:
        if self.time_limit is not None and seconds > self.time_limit:
            self.reason = f"The scan took longer than the {self.time_limit:g} s that it may."
            self.code = TIME
        elif self.memory_limit is not None and size > self.memory_limit:
            self.reason = f"The scan took {in_words(size)} where {in_words(self.memory_limit)} are allowed."
            self.code = MEMORY
        elif self.cancel_file.exists():
            self.reason = "The batch was cancelled."
            self.code = CANCELLED


def resident_bytes() -> int:
    """Memory that this process holds now; where the system does not tell, the most it held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()
