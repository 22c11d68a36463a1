"""Where slope and intercept are missing: refused where the values of one volume would not belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm_dicom import examples
from medldm_dicom.checks import rescale
from medldm_dicom.enhanced import enhanced
from medldm_dicom.header import Header
from medldm_dicom.reader import DicomReader

Slices = list[Dataset]


@pytest.fixture
def slices() -> Slices:
    return examples.ct_slices(examples.oblique_grid(), examples.hounsfield())


def found(folder: Path) -> list[str]:
    (row,) = DicomReader().inspect(folder)
    return [problem.severity for problem in row.problems if problem.code == "E-DCM-13"]


def _one_without(slices: Slices) -> None:
    del slices[3].RescaleSlope, slices[3].RescaleIntercept


def _one_empty(slices: Slices) -> None:
    slices[3].RescaleSlope = slices[3].RescaleIntercept = ""


def _one_with(slices: Slices) -> None:
    for image in slices[1:]:
        del image.RescaleSlope, image.RescaleIntercept


def _no_intercept(slices: Slices) -> None:
    for image in slices:
        del image.RescaleIntercept


def _empty_intercept(slices: Slices) -> None:
    slices[3].RescaleIntercept = ""


def _no_slope(slices: Slices) -> None:
    for image in slices:
        del image.RescaleSlope


def _one_of_mr_without(slices: Slices) -> None:
    for image in slices:
        image.Modality, image.RescaleSlope, image.RescaleIntercept, image.RescaleType = "MR", 0.5, 0, "US"
    _one_without(slices)


@pytest.mark.parametrize(
    "mutate", [_one_without, _one_empty, _one_with, _no_intercept, _empty_intercept, _no_slope, _one_of_mr_without]
)
def test_a_rescale_stated_in_part_is_refused(tmp_path: Path, slices: Slices, mutate: Callable[[Slices], None]) -> None:
    mutate(slices)
    examples.save(slices, tmp_path)
    assert found(tmp_path) == ["error"]
    with pytest.raises(InputRefused) as caught:
        DicomReader().read(tmp_path, ReadRequest())
    assert caught.value.code == "E-DCM-13" and caught.value.why and caught.value.fix


@pytest.mark.parametrize("stated", [None, "OT"])
def test_a_series_that_the_user_calls_ct_is_checked_as_ct(tmp_path: Path, slices: Slices, stated: str | None) -> None:
    _no_intercept(slices)
    for image in slices:
        image.Modality = stated
    examples.save(slices, tmp_path)
    assert found(tmp_path) == []
    with pytest.raises(InputRefused, match="E-DCM-13"):
        DicomReader().read(tmp_path, ReadRequest(modality="CT"))
    DicomReader().read(tmp_path, ReadRequest(modality="MR"))


@pytest.mark.parametrize(
    ("modality", "slope", "severities"),
    [("CT", None, ["warning"]), ("MR", None, []), ("PT", None, []), ("MR", 1, []), ("PT", 1, [])],
)
def test_a_rescale_may_be_missing_in_all_images(
    tmp_path: Path, slices: Slices, modality: str, slope: int | None, severities: list[str]
) -> None:
    for image in slices:
        image.Modality, image.RescaleSlope = modality, "" if slope is None else slope
        del image.RescaleIntercept, image.RescaleType
    examples.save(slices, tmp_path)
    assert found(tmp_path) == severities
    (volume,) = DicomReader().read(tmp_path, ReadRequest())
    stored = examples.hounsfield() + 1024 + np.arange(len(slices))[:, None, None]
    np.testing.assert_array_equal(volume.data.numpy(), stored)


def test_images_without_a_rescale_agree_with_those_whose_rescale_changes_nothing(
    tmp_path: Path, slices: Slices
) -> None:
    for image in slices:
        image.RescaleSlope, image.RescaleIntercept = 1, 0
    _one_without(slices)
    examples.save(slices, tmp_path)
    assert found(tmp_path) == ["warning"]


def test_volumes_of_one_series_may_differ_in_it(tmp_path: Path, slices: Slices) -> None:
    """A map that the scanner computed lies in the series of its images."""
    maps = examples.ct_slices(examples.oblique_grid(), examples.hounsfield())
    for image, other in zip(slices, maps, strict=True):
        image.Modality = other.Modality = "MR"
        image.EchoTime, other.EchoTime = 1, 2
        other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = f"{other.SOPInstanceUID}.9"
        del image.RescaleSlope, image.RescaleIntercept
    examples.save([*slices, *maps], tmp_path)
    assert found(tmp_path) == []
    (volume,) = DicomReader().read(tmp_path, ReadRequest(volume_index=1))
    np.testing.assert_array_equal(volume.data.numpy(), examples.hounsfield())


@pytest.mark.parametrize(
    ("second", "severities"),
    [
        ({"RescaleSlope": "1", "RescaleIntercept": "-1024"}, []),
        ({"RescaleSlope": "1", "RescaleIntercept": ""}, ["error"]),
        ({"RescaleSlope": "1"}, ["error"]),
        ({}, ["error"]),
    ],
)
def test_frames_of_an_enhanced_file(second: dict[str, str], severities: list[str]) -> None:
    image = Dataset()
    image.NumberOfFrames = 2
    image.PerFrameFunctionalGroupsSequence = [Dataset(), Dataset()]
    stated = ({"RescaleSlope": "1", "RescaleIntercept": "-1024"}, second)
    for groups, values in zip(image.PerFrameFunctionalGroupsSequence, stated, strict=True):
        transformation = Dataset()
        transformation.update(values)
        groups.PixelValueTransformationSequence = [transformation]
    frames = list(enhanced(Header(Path("enhanced.dcm"), image, ExplicitVRLittleEndian, None)))
    assert [problem.severity for problem in rescale([frames], "CT")] == severities
