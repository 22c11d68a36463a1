"""Files as they come in: written aside under our own numbers, and renamed into place when all are there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from medldm.errors import UsageError


class Received:
    """A folder that appears whole or not at all. Names are numbers: those of archives are never used.

    Args:
        folder: to make.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(
                "E-PACS-05",
                f"{folder} is there already.",
                why="Scans are never mixed or overwritten.",
                fix="Choose a new folder.",
            )
        self.folder = folder
        self.aside = folder.with_name(f"{folder.name}.part-{os.getpid()}")
        self.count = 0

    def __enter__(self) -> Self:
        self.aside.mkdir(parents=True)
        return self

    def next_file(self) -> Path:
        """Where the next object goes."""
        self.count += 1
        return self.aside / f"{self.count:06d}.dcm"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            if self.folder.is_dir():
                self.folder.rmdir()
            self.aside.rename(self.folder)
        else:
            shutil.rmtree(self.aside, ignore_errors=True)
