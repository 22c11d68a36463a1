"""Acquisition files as acquisitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medldm.data import Acquisition, ReadRequest, SeriesRow, Volume
from medldm.errors import InputRefused, Problem
from medldm_rawdata.acquisition_file import SUFFIX, load_acquisition, read_header


@dataclass(frozen=True)
class AcquisitionReader:
    """Reads ``NAME.acq.safetensors``; one file holds one measurement."""

    def accepts(self, path: Path) -> bool:
        """By the ending of the name."""
        return path.name.lower().endswith(SUFFIX) and path.is_file()

    def inspect(self, path: Path) -> list[SeriesRow]:
        """One row; the shape is that of the image to reconstruct."""
        try:
            header, sizes = read_header(path)
            grid = header.grid_value()
        except InputRefused as refusal:
            problem = Problem(refusal.code, "error", refusal.what, refusal.fix)
            return [SeriesRow(1, path.name, "acquisition", "OT", "", 1, None, None, None, (problem,))]
        measured = ", ".join(f"{axis} {n}" for axis, n in sizes.items())
        description = f"{header.physics}: {measured}{' SIMULATED' if header.simulated else ''}"
        return [
            SeriesRow(
                1,
                path.name,
                "acquisition",
                header.modality,
                description,
                1,
                grid.shape,
                grid.spacing,
                grid.orientation,
            )
        ]

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        """The one measurement.

        Raises:
            InputRefused: E-RAW-01 to E-RAW-10, see the plugin's README.
        """
        request.require_only_scan(path)
        return [load_acquisition(path, max_bytes=request.max_bytes)]
