"""What a reader and a writer of scans look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from medldm.data.acquisition import Acquisition
from medldm.data.provenance import Provenance
from medldm.data.volume import Modality, Volume
from medldm.errors import InputRefused, Problem


@dataclass(frozen=True)
class ReadRequest:
    """What the user asks of a reader, the same for every format.

    Attributes:
        series: series UID, or ``"#2"`` for the second row of ``medldm inspect``; None when there is one only.
        volume_index: which volume of a 4-D file; None when there is one only.
        untilt: shear a gantry-tilted CT series upright (resampling within slices).
        allow_gaps: ``"resample"`` fills missing slices or uneven spacing by linear interpolation along z.
        assume_orientation: nearest-axis code such as ``"RAS"``, for a NIfTI file that states none.
        modality: what the scan is, where the format cannot tell (NIfTI); None leaves it as read.
        max_bytes: refuse to allocate more than this for one volume.
    """

    series: str | None = None
    volume_index: int | None = None
    untilt: bool = False
    allow_gaps: Literal["resample"] | None = None
    assume_orientation: str | None = None
    modality: Modality | None = None
    max_bytes: int = 16 * 2**30

    def require_only_series(self, path: Path) -> None:
        """Refuse another row than the only one there is, for readers of formats whose files hold one scan.

        Raises:
            InputRefused: E-IN-07.
        """
        if self.series not in (None, "#1", path.name):
            raise InputRefused(
                "E-IN-07",
                f"{path.name} holds one scan, and none is {self.series!r}.",
                why="Another scan than the one asked for would be taken.",
                fix="Leave --series out.",
            )

    def require_only_volume(self, path: Path) -> None:
        """Refuse another volume than the only one, for readers of formats whose scans have no fourth axis.

        Raises:
            InputRefused: E-IN-07.
        """
        if self.volume_index not in (None, 0):
            raise InputRefused(
                "E-IN-07",
                f"Scans of {path.name} are one volume each; there is no volume {self.volume_index}.",
                why="Another volume than the one asked for would be taken.",
                fix="Leave --volume-index out.",
            )

    def require_only_scan(self, path: Path) -> None:
        """Both, for readers of formats whose files hold one scan of one volume.

        Raises:
            InputRefused: E-IN-07.
        """
        self.require_only_series(path)
        self.require_only_volume(path)


@dataclass(frozen=True)
class SeriesRow:
    """One row of ``medldm inspect``: a scan found under a path, readable or not."""

    index: int
    identifier: str
    format: str
    modality: str
    description: str
    files: int
    shape: tuple[int, ...] | None
    spacing: tuple[float, ...] | None
    orientation: str | None
    problems: tuple[Problem, ...] = ()


@runtime_checkable
class Reader(Protocol):
    """Reads scans of one format. A frozen dataclass without required fields."""

    def accepts(self, path: Path) -> bool:
        """Quickly, by looking at names and first bytes: is this path mine? Never raises on bad content."""
        ...

    def inspect(self, path: Path) -> list[SeriesRow]:
        """All scans under the path, with their problems; headers only."""
        ...

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        """The scans asked for. Raises :class:`medldm.errors.InputRefused` with a stable code."""
        ...


@runtime_checkable
class NamesItsFiles(Protocol):
    """A reader of scans that are more than the file they are named by, or less than all files below their folder."""

    def files(self, path: Path) -> Sequence[Path]:
        """All files that what lies at ``path`` is read from, itself included.

        A batch tells by them whether a scan is the one it was, and which files of a folder are one scan. Names are
        enough, and the first bytes or a small text where these tell it. Files that are not there may be named. Never
        raises on bad content. Without this method a scan is the file at ``path``, or all regular files below it.
        """
        ...


@runtime_checkable
class Writer(Protocol):
    """Writes volumes of one format. A frozen dataclass whose fields are its options."""

    def write(self, volume: Volume, folder: Path, stem: str, provenance: Provenance) -> list[Path]:
        """Write under ``folder`` (which exists); returns what was written. May overwrite nothing."""
        ...


@runtime_checkable
class ChecksBeforehand(Protocol):
    """A writer that knows from unit, modality and grid alone what it cannot write."""

    def require_writable(self, volume: Volume) -> None:
        """Raise what :meth:`Writer.write` would, whatever the values: a run asks before it computes any."""
        ...
