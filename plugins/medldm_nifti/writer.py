"""Volumes as NIfTI files."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import numpy as np
import pydantic
import torch
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from medldm.aside import whole_file
from medldm.data import Provenance, Volume
from medldm.errors import MedldmError, UsageError

_DESCRIP = 79
# A quaternion cannot express a shear; below this angle it is rounding.
_SHEAR_DEGREES = 0.01


def _header(volume: Volume, provenance: Provenance, dtype: np.dtype[Any]) -> bytes:
    shape = volume.grid.shape[::-1]
    # NIfTI-1 counts voxels along an axis in 16 bits.
    header = Nifti1Header(endianness="<") if max(shape) < 2**15 else Nifti2Header(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_zooms(volume.grid.spacing[::-1])
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    affine = volume.grid.nifti_affine
    header.set_sform(affine, code=1)
    if volume.grid.shear_degrees < _SHEAR_DEGREES:
        header.set_qform(affine, code=1)
    words = f"{provenance.title}; medldm {provenance.version}"
    header["descrip"] = words.encode("ascii", "replace")[:_DESCRIP]
    if volume.quantity != "arbitrary":
        header["intent_name"] = volume.quantity.encode("ascii")
    if volume.display is not None:
        center, width = volume.display
        header["cal_min"], header["cal_max"] = center - width / 2, center + width / 2
    header["vox_offset"] = header.single_vox_offset
    return bytes(header.binaryblock) + b"\0\0\0\0"


def _sidecar(volume: Volume, provenance: Provenance) -> dict[str, Any]:
    return {
        "GeneratedBy": {"Name": "medldm", "Version": provenance.version},
        "Comment": provenance.comment,
        "Role": provenance.role,
        "Method": provenance.method,
        "RecipeSha256": provenance.recipe_hash,
        "WeightsSha256": provenance.weights_hash,
        "Seed": provenance.seed,
        "Simulated": provenance.simulated,
        "Generative": provenance.generative,
        "Created": provenance.created.isoformat(),
        "Modality": volume.modality,
        "Quantity": volume.quantity,
        "Orientation": volume.grid.orientation,
        "OrientationKnown": volume.history.orientation_known,
        "SpacingMillimetre": list(volume.grid.spacing),
        "History": volume.history.as_list(),
    }


@dataclass(frozen=True)
class NiftiWriter:
    """Writes ``<stem>.nii.gz`` and its provenance as ``<stem>.json``.

    Samples are float32, or complex64 for complex volumes; the sform carries the grid, the qform too unless the grid
    is sheared; ``intent_name`` carries the unit (``HU``, ``1/mm``). The same volume and provenance give the same bytes.

    Attributes:
        complex_values: write complex volumes as they are, or their magnitude, which every viewer shows.
        level: effort of gzip.
    """

    complex_values: Literal["keep", "magnitude"] = "keep"
    level: Annotated[int, pydantic.Field(ge=0, le=9)] = 4

    def write(self, volume: Volume, folder: Path, stem: str, provenance: Provenance) -> list[Path]:
        """Write under ``folder``; both files are complete before either has its name.

        Raises:
            UsageError: E-NII-21 when a file of that name is there already.
            MedldmError: E-NII-22 when the folder cannot be written or the disk is full.
        """
        if not stem or Path(stem).name != stem:
            raise ValueError(f"the stem {stem!r} is not a plain file name")
        targets = [folder / f"{stem}.nii.gz", folder / f"{stem}.json"]
        for target in targets:
            if target.exists():
                raise UsageError(
                    "E-NII-21",
                    f"{target.name} exists already.",
                    why="medldm overwrites nothing.",
                    fix="Choose another output folder or remove the file.",
                )
        try:
            # The image takes its name last: where it is, its provenance is too.
            with whole_file(targets[0]) as image, whole_file(targets[1]) as sidecar:
                for aside, fill in ((image, self._fill_image), (sidecar, self._fill_sidecar)):
                    with aside.open("xb") as file:
                        fill(file, volume, provenance)
                        file.flush()
                        os.fsync(file.fileno())
        except OSError as error:
            raise MedldmError(
                "E-NII-22",
                f"{stem}.nii.gz could not be written: {error.strerror or error}.",
                fix="Check the free space and the permissions of the output folder.",
            ) from error
        return targets

    def _fill_image(self, file: IO[bytes], volume: Volume, provenance: Provenance) -> None:
        data = volume.data.detach()
        keep = data.is_complex() and self.complex_values == "keep"
        dtype = np.dtype("<c8" if keep else "<f4")
        # Neither a name nor a time in the gzip header: the same result has the same bytes.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=self.level, fileobj=file, mtime=0) as stream:
            stream.write(_header(volume, provenance, dtype))
            for k in range(data.shape[0]):
                part = data[k].resolve_conj() if keep or not data.is_complex() else torch.abs(data[k])
                stream.write(np.ascontiguousarray(part.cpu().numpy(), dtype=dtype).tobytes())

    def _fill_sidecar(self, file: IO[bytes], volume: Volume, provenance: Provenance) -> None:
        text = json.dumps(_sidecar(volume, provenance), indent=2, ensure_ascii=True, default=str)
        file.write(f"{text}\n".encode("ascii"))
