"""Writing the phantoms: NIfTI volumes and a classic DICOM CT series, byte for byte the same on every run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RLELossless

from phantoms.chest import Chest
from phantoms.fields import Field


def write_nifti(path: Path, image: Field, affine: NDArray[np.float64], gain: float, description: str) -> None:
    """Write an MR image as uint8 NIfTI.

    Args:
        path: ``.nii.gz``.
        image: (z, y, x) signal.
        affine: voxel index (x, y, z) to mm, RAS.
        gain: stored value of a signal of one; what exceeds 255 is clipped, as a scanner's converter would.
        description: for the header, up to 79 characters.
    """
    stored = np.clip(np.rint(image * gain), 0, 255).astype(np.uint8)
    nifti = nibabel.Nifti1Image(np.ascontiguousarray(stored.transpose(2, 1, 0)), affine)
    nifti.header["descrip"] = description.encode()
    nifti.header.set_xyzt_units("mm", "sec")
    nifti.set_sform(affine, code="scanner")
    nifti.set_qform(affine, code="scanner")
    # A fixed time in the gzip header: the file depends on the voxels alone.
    _replace(path, gzip.compress(nifti.to_bytes(), compresslevel=9, mtime=0))


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file with sorted keys."""
    _replace(path, (json.dumps(values, indent=2, sort_keys=True) + "\n").encode())


def write_dicom_series(folder: Path, chest: Chest, seed: int) -> None:
    """Write a chest as one CT Image Storage instance per slice, run-length coded, numbered from the feet up."""
    folder.mkdir(parents=True, exist_ok=True)
    depth = chest.hu.shape[0]
    for index in range(depth):
        dataset = _ct_slice(chest, index, seed)
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        _replace(folder / f"slice-{index + 1:03d}.dcm", buffer.getvalue())
    for stale in folder.glob("slice-*.dcm"):
        if int(stale.stem.split("-")[1]) > depth:
            stale.unlink()


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(path.name + ".part")
    aside.write_bytes(content)
    aside.replace(path)


def _uid(*parts: object) -> UID:
    """A UID below 2.25 (ISO/IEC 9834-8) that depends on nothing but its parts."""
    digest = hashlib.sha256("/".join(["medldm sample data", *map(str, parts)]).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:15], 'big')}")


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _ct_slice(chest: Chest, index: int, seed: int) -> Dataset:
    """One instance of the CT Image IOD (PS3.3 A.3)."""
    affine = chest.affine
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    position = affine[:3, 3] + index * affine[:3, 2]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    stored = np.clip(np.rint(chest.hu[index]) + 1024, 0, 4095).astype("<u2")
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = _uid(seed, "instance", index)
    ds.file_meta.ImplementationClassUID = _uid("implementation")
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = _uid(seed, "instance", index)
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20200101"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "120000"
    ds.AccessionNumber = ""
    ds.Modality = "CT"
    ds.Manufacturer = "medldm"
    ds.ManufacturerModelName = "chest phantom"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Synthetic chest phantom"
    ds.SeriesDescription = "Synthetic chest, noise-free"
    ds.PatientName = "PHANTOM^CHEST"
    ds.PatientID = f"PHANTOM-CHEST-{seed}"
    ds.PatientBirthDate = ""
    ds.PatientSex = "O"
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "Synthetic: no patient"
    ds.BodyPartExamined = "CHEST"
    ds.KVP = "120"
    ds.SliceThickness = _number(float(spacing[2]))
    ds.SoftwareVersions = "sample_data"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = _uid(seed, "study")
    ds.SeriesInstanceUID = _uid(seed, "series")
    ds.StudyID = "1"
    ds.SeriesNumber = "1"
    ds.AcquisitionNumber = "1"
    ds.InstanceNumber = str(index + 1)
    ds.ImagePositionPatient = [_number(float(v)) for v in position]
    ds.ImageOrientationPatient = [_number(float(v)) for v in (*columns[:, 0], *columns[:, 1])]
    ds.FrameOfReferenceUID = _uid(seed, "frame of reference")
    ds.PositionReferenceIndicator = ""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = (int(n) for n in stored.shape)
    ds.PixelSpacing = [_number(float(spacing[1])), _number(float(spacing[0]))]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW"
    return ds
