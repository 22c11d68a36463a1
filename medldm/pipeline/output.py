"""The output folder: written aside, renamed into place, never half."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medldm.aside import beside, new_token, not_written
from medldm.errors import MedldmError, UsageError

# Of the files that are in the way as many are named.
_SHOWN = 5


@dataclass(frozen=True)
class OutputFolder:
    """A folder that appears whole or not at all.

    Attributes:
        path: the final folder.
        overwrite: whether a finished folder may be replaced.
        token: of the names of what lies beside it meanwhile (``out.part-TOKEN``), which a run that is killed leaves.
            Random: the number of a process comes again, in a container at the next run.
    """

    path: Path
    overwrite: bool
    token: str = field(default_factory=new_token)

    @classmethod
    def open(cls, path: Path, source: Path | None, *, overwrite: bool = False) -> OutputFolder:
        """Check, before any work, that the folder can be written.

        Args:
            path: the folder to make; where it is a link, the folder that it leads to.
            source: the input, so that nothing is written into it and it is not replaced; None when it is no file.
            overwrite: whether a finished folder may be replaced.

        Raises:
            UsageError: those of :func:`require_free`; E-OUT-04 it cannot be written.
        """
        folder = cls(require_free(path, source, overwrite=overwrite), overwrite)
        folder._writable()
        return folder

    def _writable(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._beside("part").mkdir()
            self._beside("part").rmdir()
        except OSError as error:
            raise UsageError(
                "E-OUT-04",
                f"The output folder {self.path} cannot be written: {error.strerror}.",
                fix="Choose a folder that you may write to.",
            ) from error

    def _beside(self, word: Literal["part", "old", "new"]) -> Path:
        return beside(self.path, word, self.token)

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
        aside = self._beside("part")
        try:
            aside.mkdir()
            files = write(aside)
            self._into_place(aside)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise not_written("The results", error) from error
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return [self.path / file.relative_to(aside) for file in files]

    def _into_place(self, aside: Path) -> None:
        if self.path.is_dir() and any(self.path.iterdir()):
            try:
                _replaceable(self.path, overwrite=self.overwrite)
            except UsageError as refusal:
                rescued = self._beside("new")
                aside.rename(rescued)
                raise MedldmError(
                    "E-OUT-06",
                    f"Something else filled the output folder {self.path} meanwhile; the results are in {rescued}.",
                    why=refusal.why,
                    fix="Look at both, and rename the one that you keep.",
                ) from refusal
        old = self._beside("old")
        if self.path.is_dir():
            self.path.rename(old)
        try:
            aside.rename(self.path)
        except OSError:
            if old.is_dir():
                old.rename(self.path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def require_free(path: Path, source: Path | None, *, overwrite: bool) -> Path:
    """Where an output folder comes to lie, its links followed; nothing is touched. See :meth:`OutputFolder.open`.

    Raises:
        UsageError: E-OUT-01 input and output lie one inside the other, E-OUT-02 a file is in the way, E-OUT-03 the
            folder holds results that may not be replaced, or files of somebody else.
    """
    path = path.resolve()
    if source is not None:
        _apart(path, source)
    if path.exists() and not path.is_dir():
        raise UsageError("E-OUT-02", f"{path} is a file.", fix="Choose another output folder.")
    if path.is_dir() and any(path.iterdir()):
        _replaceable(path, overwrite=overwrite)
    return path


def require_outside(out: Path, source: Path) -> None:
    """Refuse to write into a folder that is read.

    Raises:
        UsageError: E-OUT-01.
    """
    inside, read = out.resolve(), source.resolve()
    if source.is_dir() and (read == inside or read in inside.parents):
        raise UsageError(
            "E-OUT-01",
            f"The output folder {out} lies inside the input folder {source}.",
            why="A later run would read its own results as input.",
            fix="Choose an output folder elsewhere.",
        )


def _apart(path: Path, source: Path) -> None:
    source = source.resolve()
    require_outside(path, source)
    if path in source.parents:
        raise UsageError(
            "E-OUT-01",
            f"The input {source} lies inside the output folder {path}.",
            why="A folder of results is replaced as a whole, and the input would go with it.",
            fix="Choose an output folder elsewhere.",
        )


def _replaceable(path: Path, *, overwrite: bool) -> None:
    """Refuse a folder of results without ``overwrite``, and one with files that no reconstruction wrote in any case."""
    record = finished_record(path)
    if record is not None and not overwrite:
        raise UsageError(
            "E-OUT-03",
            f"The output folder {path} is not empty.",
            why="Results are never overwritten in silence.",
            fix="Choose another folder, or add --overwrite.",
        )
    written = {"run.json", *(record.get("files", ()) if record else ())}
    found = (file for file in sorted(path.rglob("*")) if file.is_symlink() or not file.is_dir())
    foreign = [file for file in found if record is None or str(file.relative_to(path).as_posix()) not in written]
    if foreign:
        names = ", ".join(str(file.relative_to(path)) for file in foreign[:_SHOWN])
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise UsageError(
            "E-OUT-03",
            f"The output folder {path} is not empty: {names}{more}.",
            why="It holds files that medldm did not write, and those are never deleted.",
            fix="Choose another folder, or move these files elsewhere.",
        )


def finished_record(path: Path) -> dict[str, Any] | None:
    """The record of a finished output folder, None when it is not one."""
    try:
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
