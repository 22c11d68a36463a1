"""What the series of a run share, and what tells them apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
import torch
from pydicom.dataset import Dataset

from medldm.data import Provenance, Source, Volume
from medldm_dicom import examples
from medldm_dicom.writer import DicomWriter

MADE = Provenance(
    role="reconstruction",
    method="tv on mri-cartesian",
    version="0.1.0",
    recipe_hash="a" * 64,
    seed=7,
    created=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    simulated=True,
    scan="e" * 64,
)


@pytest.fixture
def mr() -> Volume:
    """An MR volume from no source."""
    return replace(examples.volume(), quantity="arbitrary", modality="MR", data=examples.volume().data.abs() / 7e3)


def first(volume: Volume, folder: Path, stem: str = "recon", **changes: object) -> Dataset:
    folder.mkdir(exist_ok=True)
    return pydicom.dcmread(DicomWriter().write(volume, folder, stem, replace(MADE, **changes))[0])  # type: ignore[arg-type]


def test_two_volumes_of_one_file_are_two_series_of_one_study(mr: Volume, tmp_path: Path) -> None:
    file = tmp_path / "echoes.nii"
    file.write_bytes(b"content of two echoes")
    both = replace(mr, source=Source("nifti", (file,), header=object()))
    one, two = first(both, tmp_path / "1"), first(replace(both, data=both.data * 2), tmp_path / "2", scan="f" * 64)
    assert one.SeriesInstanceUID != two.SeriesInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID
    for shared in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert one[shared].value == two[shared].value


def test_images_of_a_run_without_a_source_are_of_one_patient(mr: Volume, tmp_path: Path) -> None:
    image = first(mr, tmp_path / "out")
    spread = first(replace(mr, data=mr.data / 9), tmp_path / "out", "spread", role="spread")
    again = first(mr, tmp_path / "other recipe", recipe_hash="c" * 64)
    other = first(mr, tmp_path / "other scan", scan="f" * 64)
    for shared in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert image[shared].value == spread[shared].value == again[shared].value != other[shared].value
    assert len({one.SeriesInstanceUID for one in (image, spread, again, other)}) == 4


def test_an_image_of_no_run_is_told_by_its_values(mr: Volume, tmp_path: Path) -> None:
    turned = replace(mr, data=torch.complex(mr.data, mr.data))
    images = [first(one, tmp_path / str(k), scan="") for k, one in enumerate((mr, mr, turned))]
    patients = [image.PatientID for image in images]
    assert patients[0] == patients[1] != patients[2]
    assert images[0].SOPInstanceUID == images[1].SOPInstanceUID
