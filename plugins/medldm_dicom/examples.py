"""Small DICOM scans for the conformance kit: an oblique CT series with non-square voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from medldm.data import Grid, History, Volume
from medldm.testing.examples import ReaderExample, WriterExample
from medldm_dicom.reader import DicomReader
from medldm_dicom.writer import DicomWriter

SHAPE = (5, 16, 12)
SPACING = (2.5, 0.7, 0.5)


def oblique_grid(shape: tuple[int, int, int] = SHAPE) -> Grid:
    """Spacing 2.5 x 0.7 x 0.5 mm, turned by 20 degrees about x and 10 degrees about z."""
    a, b = np.radians(20.0), np.radians(10.0)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (about_z @ about_x)[:, ::-1] * SPACING
    affine[:3, 3] = (-31.5, 12.25, 103.0)
    return Grid(shape, affine)


def hounsfield(shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int16]:
    """Whole numbers of HU that differ from voxel to voxel along every axis."""
    z, y, x = np.indices(shape)
    return np.asarray(-900 + 211 * z + 37 * y + 5 * x + (x * y) % 7, dtype=np.int16)


def ct_slices(grid: Grid, values: NDArray[np.int16]) -> list[Dataset]:
    """CT images without identity, one a slice, each with its own rescale intercept."""
    directions = grid.directions
    slices = []
    for k in range(grid.shape[0]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = UID(f"1.2.3.4.{k + 1}")
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
        image.PatientName, image.PatientID = "Phantom^Oblique", "phantom"
        image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
        image.StudyID = image.AccessionNumber = image.ReferringPhysicianName = ""
        image.Modality, image.Manufacturer = "CT", "medldm"
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.SeriesNumber, image.InstanceNumber = 3, grid.shape[0] - k
        image.PositionReferenceIndicator = ""
        image.BodyPartExamined = "HEAD"
        image.KVP, image.AcquisitionNumber, image.ConvolutionKernel = "120", 1, "SOFT"
        image.Rows, image.Columns = grid.shape[1:]
        image.PixelSpacing = [grid.spacing[1], grid.spacing[2]]
        image.SliceThickness = grid.spacing[0]
        image.ImagePositionPatient = [round(float(v), 9) for v in grid.world((k, 0, 0))]
        image.ImageOrientationPatient = [round(float(v), 12) for v in (*directions[:, 2], *directions[:, 1])]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024 - k, "HU"
        image.WindowCenter, image.WindowWidth = 40, 400
        stored = values[k].astype(np.int32) + 1024 + k
        image.PixelData = stored.astype("<i2").tobytes()
        slices.append(image)
    return slices


def save(images: list[Dataset], folder: Path) -> Path:
    """Write data sets as ``0.dcm, 1.dcm, ...`` into the folder."""
    for k, image in enumerate(images):
        image.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return folder


def make_oblique(folder: Path) -> Path:
    """Write the example's series in a shuffled order of file names."""
    images = ct_slices(oblique_grid(), hounsfield())
    return save([images[k] for k in (3, 0, 4, 2, 1)], folder)


def volume() -> Volume:
    """The scan that :func:`make_oblique` writes."""
    return Volume(
        torch.from_numpy(hounsfield().astype(np.float32)),
        oblique_grid(),
        "HU",
        "CT",
        name="ct-series-3",
        history=History(),
        display=(40.0, 400.0),
    )


def reader() -> ReaderExample:
    """An oblique CT series with non-square voxels, shuffled files and rescale by slice."""
    return ReaderExample(DicomReader(), make_oblique, volume())


def writer() -> WriterExample:
    """The same scan without a DICOM source: half a step of the series' rescale slope is the tolerance."""
    return WriterExample(DicomWriter(), volume(), DicomReader(), tolerance=0.5)
