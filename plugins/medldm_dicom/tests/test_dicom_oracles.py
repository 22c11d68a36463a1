"""highdicom and dcm2niix place every voxel where the reader places it, with the same value."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medldm.data import Grid, ReadRequest, Volume
from medldm_dicom import examples
from medldm_dicom.reader import DicomReader

DATA = Path(os.environ.get("MEDLDM_TEST_DATA", Path(__file__).parents[4] / "shared" / "data")) / "public" / "dicom"
Oracle = Callable[[Path, Path], tuple[NDArray[np.float64], NDArray[np.float64]]]


def highdicom_says(folder: Path, _: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and LPS affine of highdicom."""
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
    images = [pydicom.dcmread(p) for p in sorted(folder.iterdir()) if p.is_file()]
    for image in images:
        # highdicom wants a frame of reference, which some anonymised files have lost; it does not enter the geometry.
        image.FrameOfReferenceUID = image.get("FrameOfReferenceUID") or "1.2.3"
    if len(images) == 1:
        volume = highdicom.Image.from_dataset(images[0]).get_volume()
    else:
        volume = highdicom.get_volume_from_series(images)
    return np.asarray(volume.array, dtype=np.float64), np.asarray(volume.affine)


def dcm2niix_says(folder: Path, out: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and LPS affine of dcm2niix, whose NIfTI is RAS."""
    # Beside the interpreter, too: a virtual environment need not be activated.
    program = shutil.which("dcm2niix") or shutil.which("dcm2niix", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("dcm2niix is not installed")
    # By default it applies Philips' private scaling instead of the rescale of the standard.
    standard_rescale = ("-p", "n") if "philips" in str(folder) else ()
    subprocess.run(
        [program, *standard_rescale, "-b", "n", "-z", "n", "-f", "o", "-o", str(out), str(folder)],
        check=True,
        capture_output=True,
    )
    (file,) = out.glob("*.nii")
    image = nibabel.load(file)
    return np.asarray(image.get_fdata()), np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine


def agree(volume: Volume, values: NDArray[np.float64], affine: NDArray[np.float64]) -> None:
    """Map all our voxel centres into the oracle's array and compare place and value."""
    index = np.stack([*np.indices(volume.grid.shape).reshape(3, -1), np.ones(volume.data.numel())])
    found = (np.linalg.inv(affine) @ volume.grid.affine @ index)[:3]
    assert np.abs(found - np.round(found)).max() < 0.02, "voxel centres differ"
    k = tuple(np.round(found).astype(int))
    assert sorted(values.shape) == sorted(volume.grid.shape)
    np.testing.assert_allclose(values[k], volume.data.numpy().ravel(), atol=1e-3, rtol=1e-5)


ORACLES = pytest.mark.parametrize("oracle", [highdicom_says, dcm2niix_says])


@ORACLES
@pytest.mark.parametrize("rotation", range(3))
def test_synthetic_oblique_non_square(tmp_path: Path, oracle: Oracle, rotation: int) -> None:
    base = examples.oblique_grid((7, 16, 12))
    affine = np.eye(4)
    affine[:3, :3] = np.roll(np.eye(3), rotation, axis=0) @ base.affine[:3, :3]
    affine[:3, 3] = base.affine[:3, 3]
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    images = examples.ct_slices(Grid(base.shape, affine), examples.hounsfield((7, 16, 12)))
    for k, image in enumerate(images):
        image.RescaleIntercept = -1024
        stored = examples.hounsfield((7, 16, 12))[k].astype(np.int32) + 1024
        image.PixelData = stored.astype("<i2").tobytes()
        image.StudyDate, image.StudyTime, image.PatientPosition = "20200101", "120000", "HFS"
    examples.save(images, tmp_path / "in")
    (volume,) = DicomReader().read(tmp_path / "in", ReadRequest())
    agree(volume, *oracle(tmp_path / "in", tmp_path / "out"))


REAL = [
    "valid/ct-chest-15",
    "valid/ge/anatomical/001",
    "valid/generic/anatomical/001_implicit",
    "valid/generic/anatomical/002_non_isotropic",
    "valid/hitachi/anatomical/001",
    "enhanced/siemens_multiframe/anatomical/001",
    "enhanced/philips_enhanced/anatomical/001_implicit",
]


@pytest.mark.skipif(not DATA.is_dir(), reason="no real scans: set MEDLDM_TEST_DATA")
@ORACLES
@pytest.mark.parametrize("folder", REAL)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:highdicom")
def test_real_series(tmp_path: Path, oracle: Oracle, folder: str) -> None:
    (volume,) = DicomReader().read(DATA / folder, ReadRequest())
    agree(volume, *oracle(DATA / folder, tmp_path))
