"""Peak memory of a stretch of work."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """``with PeakMemory() as memory: ...; memory.bytes``: the largest memory held meanwhile.

    CUDA's allocator where CUDA is in use, else the resident set of this process (Linux); 0 where unknown.
    """

    bytes: int = 0

    def __enter__(self) -> PeakMemory:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        try:
            _CLEAR.write_text("5", encoding="ascii")  # resets VmHWM, see proc(5)
        except OSError:
            self._reset = False
        else:
            self._reset = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
            self.bytes = int(torch.cuda.max_memory_allocated())
        elif self._reset and _STATUS.is_file():
            match = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
            self.bytes = int(match[1]) * 1024 if match else 0
