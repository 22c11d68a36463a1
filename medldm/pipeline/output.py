"""The output folder: written aside, renamed into place, never half."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medldm.errors import MedldmError, UsageError


@dataclass(frozen=True)
class OutputFolder:
    """A folder that appears whole or not at all.

    Attributes:
        path: the final folder.
        overwrite: whether a finished folder may be replaced.
    """

    path: Path
    overwrite: bool

    @classmethod
    def open(cls, path: Path, source: Path | None, *, overwrite: bool = False) -> OutputFolder:
        """Check, before any work, that the folder can be written.

        Args:
            path: the folder to make.
            source: the input, so that nothing is written into it; None when it is no file.
            overwrite: whether a finished folder may be replaced.
        """
        path = path.absolute()
        if source is not None and source.is_dir():
            inside = path.resolve()
            if source.resolve() == inside or source.resolve() in inside.parents:
                raise UsageError(
                    "E-OUT-01",
                    f"The output folder {path} lies inside the input folder {source}.",
                    why="A later run would read its own results as input.",
                    fix="Choose an output folder elsewhere.",
                )
        folder = cls(path, overwrite)
        if path.exists() and not path.is_dir():
            raise UsageError("E-OUT-02", f"{path} is a file.", fix="Choose another output folder.")
        if path.is_dir() and any(path.iterdir()):
            finished = (path / "run.json").is_file()
            if not (overwrite and finished):
                raise UsageError(
                    "E-OUT-03",
                    f"The output folder {path} is not empty.",
                    why="Results are never overwritten in silence."
                    if finished
                    else "It holds files that medldm did not write, and those are never deleted.",
                    fix="Choose another folder, or add --overwrite." if finished else "Choose another folder.",
                )
        folder._writable()
        return folder

    def _writable(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._aside.mkdir()
            self._aside.rmdir()
        except OSError as error:
            raise UsageError(
                "E-OUT-04",
                f"The output folder {self.path} cannot be written: {error.strerror}.",
                fix="Choose a folder that you may write to.",
            ) from error

    @property
    def _aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part-{os.getpid()}")

    @property
    def state_file(self) -> Path:
        """Where an interrupted run leaves its state, beside the folder."""
        return self.path.with_name(f"{self.path.name}.state.safetensors")

    def fill(self, write: Callable[[Path], list[Path]]) -> list[Path]:
        """Let ``write`` fill a folder aside, then rename it into place.

        Args:
            write: gets an empty folder, returns the files it made in it.

        Returns:
            The files in their final place.
        """
        aside = self._aside
        try:
            aside.mkdir()
            files = write(aside)
            self._into_place(aside)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise MedldmError(
                "E-OUT-05",
                "The disk is full." if full else f"The results cannot be written: {error.strerror}.",
                why="Nothing was left half-written.",
                fix="Free some space, or choose a folder on another disk." if full else "Check the output folder.",
            ) from error
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return [self.path / file.relative_to(aside) for file in files]

    def _into_place(self, aside: Path) -> None:
        old = self.path.with_name(f"{self.path.name}.old-{os.getpid()}")
        if self.path.is_dir():
            self.path.rename(old)
        try:
            aside.rename(self.path)
        except OSError:
            if old.is_dir():
                old.rename(self.path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def finished_record(path: Path) -> dict[str, Any] | None:
    """The record of a finished output folder, None when it is not one."""
    try:
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
