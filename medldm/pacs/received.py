"""Files as they come in: written aside under our own numbers, and renamed into place when all are there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from medldm.aside import beside, new_token, not_written
from medldm.errors import UsageError


@dataclass(frozen=True)
class Fetched:
    """What came.

    Attributes:
        count: of objects.
        remarks: sentences on what was left out, and on what could not be checked.
    """

    count: int
    remarks: tuple[str, ...] = ()


def unchecked(series: int) -> str:
    """The remark on series of which nobody says how many objects they have."""
    return f"How many objects there are of {series} series the archive does not say: whether all came is unchecked."


class Received:
    """A folder that appears whole or not at all. Names are numbers: those of archives are never used.

    Args:
        folder: to make.

    Attributes:
        count: objects that are written.

    Raises:
        UsageError: E-PACS-05 the folder is there, E-OUT-04 it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        except OSError as error:
            raise _no_folder(folder, error) from error
        if taken:
            raise UsageError(
                "E-PACS-05",
                f"{folder} is there already.",
                why="Scans are never mixed or overwritten.",
                fix="Choose a new folder.",
            )
        self.folder = folder
        self.aside = beside(folder, "part", new_token())
        self.count = 0

    def __enter__(self) -> Self:
        try:
            self.aside.mkdir(parents=True)
        except OSError as error:
            raise _no_folder(self.folder, error) from error
        return self

    def keep(self, write: Callable[[Path], object]) -> None:
        """Have the next object written.

        Args:
            write: gets the path that it goes to.

        Raises:
            MedldmError: E-OUT-05 the disk is full, or writing failed otherwise.
        """
        try:
            write(self.aside / f"{self.count + 1:06d}.dcm")
        except OSError as error:
            raise not_written("The objects", error) from error
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                if self.folder.is_dir():
                    self.folder.rmdir()
                self.aside.rename(self.folder)
        except OSError as failure:
            raise not_written("The objects", failure) from failure
        finally:
            shutil.rmtree(self.aside, ignore_errors=True)


def _no_folder(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        "E-OUT-04",
        f"The folder {folder} cannot be written: {error.strerror}.",
        fix="Choose a folder that you may write to.",
    )
