"""One coordinator to an output folder: the second is refused and told of the first; a dead one's lock is taken over."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from medldm.errors import UsageError

BEAT_SECONDS = 5.0


class CoordinatorLock:
    """A context manager that holds the lock.

    The system releases the lock of a process that dies, however it dies. Where a file system of a network does not
    tell one machine of the locks of another, the holder's beat does: a number that it raises every few seconds. No
    clocks are compared, so none can jump.

    Args:
        path: the lock's file.
        patience: seconds to watch the beat of a holder on another machine.
        told: gets a sentence when the lock of a dead coordinator is taken over.
    """

    def __init__(
        self, path: Path, *, patience: float = 3 * BEAT_SECONDS, told: Callable[[str], None] | None = None
    ) -> None:
        self.path, self.patience, self.told = path, patience, told
        self._file: int | None = None
        self._over = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> CoordinatorLock:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise _refused(holder(self.path)) from None
        except OSError:
            pass  # a file system without locks: the beat alone has to do
        before = holder(self.path)
        if before and before["host"] != socket.gethostname() and self._alive(before):
            os.close(handle)
            raise _refused(before)
        if before and self.told is not None:
            self.told(
                f"the coordinator before ({before['host']}, process {before['pid']}) ended without finishing; its lock "
                "is taken over"
            )
        self._file = handle
        self._write(0)
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._beat.join()
        assert self._file is not None
        os.ftruncate(self._file, 0)
        os.close(self._file)

    def _alive(self, before: dict[str, Any]) -> bool:
        until = time.monotonic() + self.patience
        while time.monotonic() < until:
            time.sleep(min(0.2, self.patience))
            now = holder(self.path)
            if now is None:
                return False
            if now["beat"] != before["beat"]:
                return True
        return False

    def _write(self, beat: int) -> None:
        assert self._file is not None
        text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "beat": beat}).ljust(256)
        os.pwrite(self._file, text.encode(), 0)

    def _keep_beating(self) -> None:
        beat = 0
        while not self._over.wait(BEAT_SECONDS):
            beat += 1
            self._write(beat)


def holder(path: Path) -> dict[str, Any] | None:
    """Who wrote the lock last and did not give it back: host, process, beat."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and {"host", "pid", "beat"} <= content.keys() else None


def running(path: Path) -> dict[str, Any] | None:
    """The coordinator that holds the lock now; None when there is none, as far as this machine can tell."""
    found = holder(path)
    if found is None or found["host"] != socket.gethostname():
        return found
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return found
        except OSError:
            return found
    return None


def _refused(other: dict[str, Any] | None) -> UsageError:
    who = f"process {other['pid']} on {other['host']}" if other else "another process"
    return UsageError(
        "E-BAT-07",
        f"This output folder is being worked on by {who}.",
        why="Two coordinators would do the same scans twice.",
        fix="Wait for it, stop it with medldm batch cancel, or choose another output folder.",
    )
