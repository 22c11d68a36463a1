"""Acquisitions, and volumes as measurements of themselves, in acquisition files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medldm.data import Acquisition, AffineMap, Provenance, Volume
from medldm.errors import UsageError
from medldm_rawdata.acquisition_file import SUFFIX, save_acquisition


@dataclass(frozen=True)
class AcquisitionWriter:
    """Writes ``STEM.acq.safetensors``.

    ``medldm simulate`` asks it for :meth:`write_acquisition`. As a writer of volumes it stores an image as a
    measurement of physics ``identity`` with unknown noise.
    """

    def write_acquisition(self, acquisition: Acquisition, folder: Path, stem: str) -> Path:
        """Write one measurement under ``folder``; an existing file is replaced as a whole.

        Args:
            acquisition: the measurement.
            folder: exists.
            stem: plain file name without ending.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        if not stem or Path(stem).name != stem:
            raise ValueError(f"the stem {stem!r} is not a plain file name")
        return save_acquisition(acquisition, folder / f"{stem}{SUFFIX}")

    def write(self, volume: Volume, folder: Path, stem: str, provenance: Provenance) -> list[Path]:
        """Write a volume as the identity measurement of itself.

        Raises:
            UsageError: E-RAW-11 when the file is there already.
        """
        target = folder / f"{stem}{SUFFIX}"
        if target.exists():
            raise UsageError(
                "E-RAW-11",
                f"{target.name} exists already.",
                why="medldm overwrites nothing.",
                fix="Choose another output folder or remove the file.",
            )
        history = volume.history.then(
            "written", role=provenance.role, method=provenance.method, comment=provenance.comment
        )
        acquisition = Acquisition(
            physics="identity",
            data=volume.data,
            axes=volume.grid.axes,
            grid=volume.grid,
            quantity=volume.quantity,
            modality=volume.modality,
            output=AffineMap.identity(volume.quantity),
            simulated=provenance.simulated,
            name=volume.name,
            history=history,
        )
        return [self.write_acquisition(acquisition, folder, stem)]
