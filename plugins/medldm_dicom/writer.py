"""The writer of derived CT and MR image series."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medldm.aside import new_token
from medldm.data import Provenance, Volume
from medldm.errors import InputRefused
from medldm_dicom import derived
from medldm_dicom.frame import positive
from medldm_dicom.geometry import TILT_COSINE
from medldm_dicom.header import text
from medldm_dicom.inherited import complete, inherit, placeholder
from medldm_dicom.quantise import Quantisation, for_arbitrary, for_hounsfield
from medldm_dicom.quiet import quiet
from medldm_dicom.references import nearest, positions, refer
from medldm_dicom.uids import Identity, dicom_headers, identity, uid

_CT_WINDOW = (40.0, 400.0)
# Widths in the unit of the image, not images: zero is no water, and a window of tissues shows them as one grey.
_WIDTHS = frozenset({"deviation", "spread"})


@dataclass(frozen=True)
class DicomWriter:
    """Writes a volume as a classic CT or MR series in explicit little endian, one file a slice.

    The series is new in the study of its source, or a placeholder study where the source is no DICOM. Complex
    images are written as magnitude.

    Attributes:
        series_number: of the reconstruction; baseline, simulated input, deviation, samples and the maps of
            uncertainty follow it.
    """

    series_number: Annotated[int, Field(ge=1, le=2**31 - 10)] = 9000

    def write(self, volume: Volume, folder: Path, stem: str, provenance: Provenance) -> list[Path]:
        """Write ``folder/stem/0001.dcm, ...`` in the order of position; all files or none.

        Raises:
            InputRefused: ``E-DCM-30`` sheared grid, ``E-DCM-31`` neither CT nor MR, ``E-DCM-33`` the folder
                exists, ``E-PIX-01`` NaN or infinity.
        """
        target = folder / stem
        if target.parent != folder or stem in {"", ".", ".."}:
            raise ValueError(f"{stem!r} is no file name")
        if target.exists():
            raise InputRefused("E-DCM-33", f"The folder {stem!r} exists already.", fix="Choose another output folder.")
        self.require_writable(volume)
        modality = _modality(volume)
        values, quantisation = _values(volume.require_finite())
        aside = folder / f".{stem}.part-{new_token()}"
        aside.mkdir()
        try:
            with quiet():
                names = self._write_slices(volume, values, quantisation, modality, stem, provenance, aside)
            aside.rename(target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return [target / name for name in names]

    def require_writable(self, volume: Volume) -> None:
        """See :class:`medldm.data.ChecksBeforehand`.

        Raises:
            InputRefused: ``E-DCM-30`` sheared grid, ``E-DCM-31`` neither CT in HU nor MR.
        """
        _modality(volume)
        _check_grid(volume)

    def _write_slices(
        self,
        volume: Volume,
        values: NDArray[np.float32],
        quantisation: Quantisation,
        modality: str,
        stem: str,
        provenance: Provenance,
        aside: Path,
    ) -> list[str]:
        names = identity(volume, stem, provenance)
        headers = dicom_headers(volume)
        series = self._series(volume, values, quantisation, modality, names, provenance)
        places = positions(headers)
        grid = volume.grid
        row, column = grid.directions[:, 2], grid.directions[:, 1]
        along = [float(np.cross(row, column) @ grid.world((k, 0, 0))) for k in range(grid.shape[0])]
        written = []
        for number, k in enumerate(np.argsort(along, kind="stable"), 1):
            image = copy.deepcopy(series)
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = names.instance(int(k))
            image.InstanceNumber = number
            image.ImagePositionPatient = [derived.decimal(v) for v in grid.world((k, 0, 0))]
            image.ImageOrientationPatient = [derived.decimal(v) for v in (*row, *column)]
            if places is not None:
                refer(image, [headers[j] for j in nearest(grid, int(k), places)])
            image.PixelData = quantisation.store(values[k]).tobytes()
            image["PixelData"].VR = "OW"
            name = f"{number:04d}.dcm"
            image.save_as(aside / name, enforce_file_format=True)
            written.append(name)
        return written

    def _series(
        self,
        volume: Volume,
        values: NDArray[np.float32],
        quantisation: Quantisation,
        modality: str,
        names: Identity,
        provenance: Provenance,
    ) -> Dataset:
        """All that the slices have in common."""
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.preamble = b"\0" * 128
        derived.describe_series(image, modality, provenance, self.series_number)
        headers = dicom_headers(volume)
        notes = ["Magnitude of a complex image"] if volume.data.is_complex() else []
        if headers:
            inherit(image, headers[0])
        else:
            notes.append("The source had no DICOM header: patient and study are placeholders")
            placeholder(image, names.origin, *derived.stamps(provenance.created))
        if not text(image, "StudyInstanceUID"):
            image.StudyInstanceUID = names.study
        if not text(image, "FrameOfReferenceUID"):
            image.FrameOfReferenceUID = names.frame_of_reference
        image.SeriesInstanceUID = names.series
        complete(image)
        derived.describe_derivation(image, provenance, quantisation, notes)
        if headers:
            derived.describe_scanner(image, headers[0])
        hounsfield = volume.quantity == "HU"
        tissue = hounsfield and provenance.role not in _WIDTHS
        derived.describe_pixels(image, quantisation, hounsfield, volume.display or _window(values, tissue))
        grid = volume.grid
        image.Rows, image.Columns = grid.shape[1:]
        image.PixelSpacing = [derived.decimal(grid.spacing[1]), derived.decimal(grid.spacing[2])]
        stated = positive(headers[0], "SliceThickness") if len(headers) == grid.shape[0] else None
        image.SliceThickness = derived.decimal(stated or grid.spacing[0])
        image.SpacingBetweenSlices = derived.decimal(grid.spacing[0])
        meta = image.file_meta
        meta.MediaStorageSOPClassUID = image.SOPClassUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = uid("implementation")
        meta.ImplementationVersionName = derived.plain(f"MEDLDM {provenance.version}", 16)
        return image


def _modality(volume: Volume) -> str:
    if volume.modality == "CT" or volume.quantity == "HU":
        if volume.quantity == "1/mm":
            raise InputRefused(
                "E-DCM-31",
                "The image is in 1/mm.",
                why="A CT image is stored in Hounsfield units.",
                fix="State mu_water_per_mm in the JSON beside the scan, or write NIfTI: --set outputs.write=[nifti].",
            )
        return "CT"
    if volume.modality == "MR":
        return "MR"
    raise InputRefused(
        "E-DCM-31",
        "It is not known whether the image is CT or MR.",
        why="A DICOM image states what it is.",
        fix="Say so with --modality CT or --modality MR, or write NIfTI.",
    )


def _check_grid(volume: Volume) -> None:
    if np.sin(np.radians(volume.grid.shear_degrees)) > TILT_COSINE:
        raise InputRefused(
            "E-DCM-30",
            f"The grid is sheared by {volume.grid.shear_degrees:.2f} degrees.",
            why="A DICOM image series for planar reformatting needs right angles.",
            fix="Read the scan with --untilt.",
        )


def _values(volume: Volume) -> tuple[NDArray[np.float32], Quantisation]:
    """Real values and one map to integers for all of them."""
    data = volume.data.detach().cpu()
    values = np.asarray((data.abs() if data.is_complex() else data).float().numpy())
    low, high = float(values.min()), float(values.max())
    whole = bool(np.array_equal(values, np.rint(values)))
    quantise = for_hounsfield if _modality(volume) == "CT" else for_arbitrary
    return values, quantise(low, high, whole)


def _window(values: NDArray[np.float32], tissue: bool) -> tuple[float, float]:
    """Centre and width: that of soft tissue, or of the values but for their outermost hundredth."""
    if tissue:
        return _CT_WINDOW
    low, high = np.percentile(values, (0.5, 99.5))
    return float((low + high) / 2), float(max(high - low, np.finfo(np.float32).tiny))
