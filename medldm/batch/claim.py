"""A scan's folder of work, held by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_RESULT = "result"
STATE_ENDING = ".state.safetensors"


class Claim:
    """Holds a folder of work while its scan is reconstructed; the system releases it when the process dies.

    A worker that the coordinator believes dead may still be at work. Only one of the two can hold the claim.

    Args:
        folder: of work.
        token: of the attempt; the file ``begun`` holds it from now on, so that a lost worker tells what it had begun.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self.folder, self.token = folder, token
        self.held = False
        self._file: int | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.folder / "claim", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self
        except OSError:
            pass  # a file system without locks
        self.held = True
        (self.folder / "verdict.json").unlink(missing_ok=True)
        (self.folder / "begun").write_text(self.token, encoding="ascii")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)

    @property
    def result(self) -> Path:
        """Where the reconstruction writes; its saved state lies beside it."""
        return self.folder / _RESULT

    def clear_results(self) -> None:
        """Remove what an earlier attempt left half-done; its saved state stays."""
        for folder, _, names in os.walk(self.folder, topdown=False):
            here = Path(folder)
            if here == self.folder:
                continue
            for name in names:
                if not name.endswith(STATE_ENDING):
                    (here / name).unlink()
            if not any(here.iterdir()):
                here.rmdir()

    def made(self) -> Path:
        """The folder that the reconstruction wrote: the only one with a record."""
        return next(self.folder.rglob("run.json")).parent

    def forget_state(self) -> None:
        """Remove the saved state: it belongs to other slice batches."""
        for state in self.folder.rglob(f"*{STATE_ENDING}*"):
            state.unlink()

    def finish(self) -> None:
        """Remove the folder: its result is in place."""
        shutil.rmtree(self.folder, ignore_errors=True)


def state_mark(folder: Path) -> str:
    """Changes whenever the scan's state is saved: how far it got, without asking a clock."""
    marks = []
    for state in sorted(folder.rglob(f"*{STATE_ENDING}")):
        stat = state.stat()
        marks.append(f"{state.name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}")
    return "; ".join(marks)


def begun(folder: Path) -> str:
    """Token of the attempt that began last; empty when none did."""
    try:
        return (folder / "begun").read_text(encoding="ascii")
    except OSError:
        return ""


def write_verdict(folder: Path, code: str, reason: str) -> None:
    """Leave a word on why the process is about to be killed."""
    (folder / "verdict.json").write_text(json.dumps({"code": code, "reason": reason}), encoding="utf-8")


def verdict(folder: Path) -> dict[str, Any] | None:
    """What :func:`write_verdict` left."""
    try:
        content = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
