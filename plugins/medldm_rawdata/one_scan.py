"""Readers of formats whose files hold one measurement each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from medldm.data import Acquisition, ReadRequest, SeriesRow, Volume
from medldm_rawdata.kspace_scan import KSpaceScan, rows_of, selected


class OneScanReader(ABC):
    """What such readers share; each says which files are its own and what is in them.

    Attributes:
        format: as ``medldm inspect`` names it.
    """

    format: ClassVar[str]

    @abstractmethod
    def accepts(self, path: Path) -> bool:
        """Whether the file is of this format, from its name and first bytes."""

    @abstractmethod
    def scan(self, path: Path, max_bytes: int) -> KSpaceScan:
        """The measurement of a file.

        Args:
            path: of the file.
            max_bytes: of the k-space; more is refused before it is read.

        Raises:
            InputRefused: E-KSP-01 to E-KSP-18, see the plugin's README.
        """

    def inspect(self, path: Path) -> list[SeriesRow]:
        """One row."""
        return rows_of(path, self.format, lambda: [self.scan(path, ReadRequest().max_bytes)])

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        """The one measurement.

        Raises:
            InputRefused: E-KSP-01 to E-KSP-18, see the plugin's README.
        """
        selected([""], request.series, path)
        request.require_only_volume(path)
        return [self.scan(path, request.max_bytes).acquisition]
