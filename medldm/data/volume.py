"""An image with its place in the patient, its unit and its past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from medldm.data.grid import Grid
from medldm.data.history import History
from medldm.data.intensity import AffineMap
from medldm.errors import InputRefused

Quantity = Literal["HU", "1/mm", "arbitrary"]
QUANTITIES: tuple[Quantity, ...] = ("HU", "1/mm", "arbitrary")
Modality = Literal["CT", "MR", "OT"]
AIR_HU = -1000.0
"""Of air; what lies below stands for nothing that was measured, such as the padding outside a scanner's circle."""


@dataclass(frozen=True)
class Source:
    """Where a volume came from: enough for a writer to refer to it.

    Attributes:
        format: name of the reader.
        files: the files read, in slice order where one file holds one slice.
        header: whatever the reader of this format wants its writer to have back (a DICOM reader keeps
            data sets without pixels). Opaque to everybody else; never logged, never recorded.
    """

    format: str
    files: tuple[Path, ...] = ()
    header: Any = None


@dataclass(frozen=True, eq=False)
class Volume:
    """An image volume.

    Attributes:
        data: (z, y, x) float32 or complex64, on any device.
        grid: where the voxels lie.
        quantity: ``HU``, ``1/mm`` or ``arbitrary`` (MR).
        modality: ``CT``, ``MR`` or ``OT`` (not known, e.g. NIfTI without a hint).
        name: short name for tables and files; never a patient's.
        history: what happened so far.
        source: where it came from.
        display: optional (window centre, window width) that the source asks for, in ``quantity``.
    """

    data: Tensor
    grid: Grid
    quantity: Quantity = "arbitrary"
    modality: Modality = "OT"
    name: str = "volume"
    history: History = field(default_factory=History)
    source: Source | None = None
    display: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if tuple(self.data.shape) != self.grid.shape:
            raise ValueError(f"data {tuple(self.data.shape)} does not fit grid {self.grid.shape}")
        if self.data.dtype not in (torch.float32, torch.complex64):
            raise ValueError(f"a volume is float32 or complex64, got {self.data.dtype}")
        if self.quantity not in QUANTITIES:
            raise ValueError(f"unknown quantity {self.quantity!r}, known are {QUANTITIES}")

    def require_finite(self) -> Volume:
        """This volume; refused when a voxel is NaN or infinite."""
        bad = int((~torch.isfinite(self.data)).sum())
        if bad:
            raise InputRefused(
                "E-PIX-01",
                f"{bad} of {self.data.numel()} voxels are NaN or infinite.",
                why="A reconstruction would spread them over the whole image.",
                fix="Repair the scan; medldm does not invent values in silence.",
            )
        return self

    def with_data(self, data: Tensor, event: str, **settings: Any) -> Volume:
        """The same place and unit with other values, and one line more in the history."""
        return replace(self, data=data, history=self.history.then(event, **settings))

    def mapped(self, intensity: AffineMap, quantity: Quantity) -> Volume:
        """The volume in another unit, e.g. HU -> 1/mm."""
        if intensity.source != self.quantity or intensity.target != quantity:
            raise ValueError(f"map {intensity.name!r} does not turn {self.quantity} into {quantity}")
        return replace(
            self,
            data=intensity(self.data),
            quantity=quantity,
            history=self.history.then("intensity", map=intensity.name, scale=intensity.scale, offset=intensity.offset),
            display=None,
        )

    def cropped(self, slices: slice) -> Volume:
        """A range of slices along z, ``volume.cropped(slice(40, 60))``."""
        start, stop, step = slices.indices(self.grid.shape[0])
        if step != 1 or stop <= start:
            written = ":".join("" if end is None else str(end) for end in (slices.start, slices.stop))
            raise InputRefused(
                "E-GEO-23",
                f"The slice range {written} takes none of the volume's {self.grid.shape[0]} slices.",
                fix=f"Choose a range within 0:{self.grid.shape[0]}.",
            )
        source = self.source
        if source is not None and len(source.files) == self.grid.shape[0]:
            header = source.header
            if isinstance(header, (list, tuple)) and len(header) == self.grid.shape[0]:
                header = header[start:stop]
            source = replace(source, files=source.files[start:stop], header=header)
        return replace(
            self,
            data=self.data[start:stop],
            grid=self.grid.cropped(slices),
            history=self.history.then("slices", start=start, stop=stop),
            source=source,
        )

    def as_record(self) -> Mapping[str, Any]:
        """Facts for ``run.json``: shape, spacing, unit, history; nothing of the patient."""
        return {
            "shape": list(self.grid.shape),
            "spacing_mm": list(self.grid.spacing),
            "orientation": self.grid.orientation,
            "affine_lps": self.grid.as_rows(),
            "quantity": self.quantity,
            "modality": self.modality,
            "history": self.history.as_list(),
        }
