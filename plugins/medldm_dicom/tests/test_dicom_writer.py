"""A derived series by DICOM's rules: what it says, what it keeps, what it drops, and that it comes back."""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from medldm.data import Grid, History, Provenance, ReadRequest, Source, Volume
from medldm.errors import InputRefused
from medldm_dicom import examples
from medldm_dicom.quantise import for_arbitrary, for_hounsfield
from medldm_dicom.reader import DicomReader
from medldm_dicom.writer import DicomWriter

MADE = Provenance(
    role="reconstruction",
    method="zdds (steps 20) on ct-parallel, 60 views",
    version="0.1.0",
    recipe_hash="a" * 64,
    seed=7,
    created=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    simulated=True,
    weights_hash="b" * 64,
    generative=True,
)


@pytest.fixture
def ct(tmp_path: Path) -> Volume:
    """A CT volume with a DICOM source full of tags that must not be handed on."""
    folder = tmp_path / "source"
    folder.mkdir()
    images = examples.ct_slices(examples.oblique_grid(), examples.hounsfield())
    for image in images:
        image.SpecificCharacterSet = "ISO_IR 192"
        image.PatientName, image.PatientID, image.PatientSex = "Müller^Ida", "P-1", "F"
        image.PatientBirthDate, image.StudyDate, image.StudyID = "19500101", "20200101", "S1"
        image.InstitutionName = image.StationName = image.OperatorsName = "CANARY"
        image.PerformingPhysicianName = image.ProtocolName = image.PatientComments = "CANARY"
        image.DeviceSerialNumber, image.CTDIvol, image.PixelPaddingValue = "CANARY", 3.0, -2000
        image.OtherPatientIDs = "CANARY"
        image.Manufacturer, image.ManufacturerModelName = "Scanner Works", "Model 9"
        block = image.private_block(0x0029, "CANARY CREATOR", create=True)
        block.add_new(0x10, "LO", "CANARY private")
    examples.save(images, folder)
    (volume,) = DicomReader().read(folder, ReadRequest())
    return replace(volume, data=volume.data + 0.37)


@pytest.fixture
def mr() -> Volume:
    """An MR volume from no DICOM source."""
    return replace(examples.volume(), quantity="arbitrary", modality="MR", data=examples.volume().data.abs() / 7e3)


def write(volume: Volume, folder: Path, stem: str = "recon", **changes: object) -> list[Dataset]:
    folder.mkdir(exist_ok=True)
    files = DicomWriter().write(volume, folder, stem, replace(MADE, **changes))  # type: ignore[arg-type]
    assert [file.name for file in files] == [f"{k + 1:04d}.dcm" for k in range(volume.grid.shape[0])]
    return [pydicom.dcmread(file) for file in files]


def back(folder: Path) -> Volume:
    (volume,) = DicomReader().read(folder, ReadRequest())
    return volume


def test_ct_comes_back_within_half_a_step_at_its_place(ct: Volume, tmp_path: Path) -> None:
    images = write(ct, tmp_path / "out")
    again = back(tmp_path / "out")
    slope = float(images[0].RescaleSlope)
    assert {(float(i.RescaleSlope), float(i.RescaleIntercept), i.RescaleType) for i in images} == {
        (slope, -900.0, "HU")
    }
    assert slope < 0.1
    assert float((again.data - ct.data).abs().max()) <= slope / 2 + 1e-4
    assert again.grid == ct.grid
    assert again.display == (40.0, 400.0)
    assert f"{slope / 2:g}" in images[0].DerivationDescription


def test_mr_comes_back_through_the_real_world_map(mr: Volume, tmp_path: Path) -> None:
    images = write(mr, tmp_path / "out")
    again = back(tmp_path / "out")
    slope = images[0].RealWorldValueMappingSequence[0].RealWorldValueSlope
    assert "RescaleSlope" not in images[0] and "RescaleIntercept" not in images[0]
    assert float((again.data - mr.data).abs().max()) <= slope / 2 * (1 + 1e-6)
    assert slope <= float(mr.data.max()) / 2**15
    assert (again.modality, again.quantity) == ("MR", "arbitrary")
    assert again.grid == mr.grid
    assert again.display == pytest.approx((40.0, 400.0))


def test_whole_numbers_are_stored_exactly(tmp_path: Path) -> None:
    write(examples.volume(), tmp_path / "out")
    assert torch.equal(back(tmp_path / "out").data, examples.volume().data)


def test_complex_image_is_written_as_magnitude_and_says_so(mr: Volume, tmp_path: Path) -> None:
    turned = replace(mr, data=torch.polar(mr.data, torch.linspace(-3, 3, mr.data.numel()).reshape(mr.data.shape)))
    images = write(turned, tmp_path / "out")
    assert "agnitude" in images[0].DerivationDescription
    assert float((back(tmp_path / "out").data - mr.data).abs().max()) < 1e-5


def test_statements_of_every_image(ct: Volume, tmp_path: Path) -> None:
    for image in write(ct, tmp_path / "out"):
        assert image.SOPClassUID == pydicom.uid.CTImageStorage
        assert list(image.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert "SIMULATED" in image.SeriesDescription and "RESEARCH" in image.SeriesDescription
        assert image.ImageComments == MADE.comment
        assert image.ContentQualification == "RESEARCH" and image.BurnedInAnnotation == "NO"
        assert image.Manufacturer == "medldm" and image.SoftwareVersions == "0.1.0"
        codes = [(c.CodeValue, c.CodingSchemeDesignator) for c in image.DerivationCodeSequence]
        assert codes == [("110001", "DCM"), ("113963", "DCM"), ("123110", "DCM")]
        for word in ("zdds (steps 20)", "seed 7", "a" * 16, "b" * 16, "SIMULATED", "RESEARCH USE ONLY"):
            assert word in image.DerivationDescription
        scanner, medldm = image.ContributingEquipmentSequence
        assert (scanner.Manufacturer, scanner.PurposeOfReferenceCodeSequence[0].CodeValue) == (
            "Scanner Works",
            "109101",
        )
        assert medldm.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert list(medldm.SoftwareVersions) == ["0.1.0", "a" * 64]
        assert medldm.ContributionDateTime == "20260304050607" and medldm.DeviceUID.startswith("2.25.")
        assert image.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert image.preamble == b"\0" * 128


def test_baseline_claims_neither_iteration_nor_intelligence(ct: Volume, tmp_path: Path) -> None:
    image = write(ct, tmp_path / "out", role="baseline", generative=False, weights_hash="", simulated=False)[0]
    assert [c.CodeValue for c in image.DerivationCodeSequence] == ["110001"]
    assert "SIMULATED" not in image.SeriesDescription
    assert "DeviceUID" not in image.ContributingEquipmentSequence[-1]
    assert image.SeriesNumber == 9001


def test_patient_study_and_frame_of_reference_are_kept(ct: Volume, tmp_path: Path) -> None:
    for image in write(ct, tmp_path / "out"):
        assert (str(image.PatientName), image.PatientID, image.PatientSex) == ("Müller^Ida", "P-1", "F")
        assert (image.PatientBirthDate, image.StudyDate, image.StudyID) == ("19500101", "20200101", "S1")
        assert (image.StudyInstanceUID, image.FrameOfReferenceUID) == ("1.2.3.1", "1.2.3.3")
        assert image.SeriesInstanceUID != "1.2.3.2" and image.SeriesNumber == 9000


def test_private_and_surplus_elements_are_dropped(ct: Volume, tmp_path: Path) -> None:
    for image in write(ct, tmp_path / "out"):
        assert not [element for element in image.iterall() if element.tag.is_private]
        assert "CTDIvol" not in image and "PixelPaddingValue" not in image and "ConvolutionKernel" not in image
    for file in (tmp_path / "out" / "recon").iterdir():
        assert b"CANARY" not in file.read_bytes()


def test_each_slice_refers_to_the_image_it_came_from(ct: Volume, tmp_path: Path) -> None:
    images = write(ct, tmp_path / "out")
    for k, image in enumerate(images):
        (source,) = image.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == f"1.2.3.4.{k + 1}"
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert image.InstanceNumber == k + 1
        (series,) = image.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == "1.2.3.2"
        assert [i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence] == [f"1.2.3.4.{k + 1}"]


def test_a_coarser_grid_refers_to_all_slices_it_covers(ct: Volume, tmp_path: Path) -> None:
    affine = ct.grid.affine.copy()
    affine[:3, 0] *= 2
    coarse = replace(ct, data=ct.data[::2].contiguous(), grid=Grid((3, *ct.grid.shape[1:]), affine))
    images = write(coarse, tmp_path / "out")
    numbers = [[s.ReferencedSOPInstanceUID[-1] for s in image.SourceImageSequence] for image in images]
    assert numbers == [["1", "2"], ["2", "3", "4"], ["4", "5"]]
    assert float(images[0].SpacingBetweenSlices) == pytest.approx(5)


def test_identifiers_repeat_and_differ_as_they_should(ct: Volume, tmp_path: Path) -> None:
    def names(folder: str, stem: str = "recon", **changes: object) -> tuple[str, ...]:
        images = write(ct, tmp_path / folder, stem, **changes)
        assert len({image.SOPInstanceUID for image in images}) == len(images)
        assert all(image.SOPInstanceUID == image.file_meta.MediaStorageSOPInstanceUID for image in images)
        return (images[0].SeriesInstanceUID, *(image.SOPInstanceUID for image in images))

    first = names("a")
    assert names("b") == first
    assert all(name.startswith("2.25.") and len(name) <= 64 for name in first)
    others = [
        names("c", seed=8),
        names("d", recipe_hash="c" * 64),
        names("e", weights_hash="d" * 64),
        names("f", role="sample"),
        names("g", "sample-2"),
        names("h", scan="e" * 64),
        names("i", version="0.2.0"),
    ]
    assert len({first[0], *(other[0] for other in others)}) == 8
    assert not set(first) & {name for other in others for name in other}
    (one, two) = ({f.name: f.read_bytes() for f in (tmp_path / folder / "recon").iterdir()} for folder in ("a", "b"))
    assert one == two, "the same run writes the same bytes"


def test_source_without_dicom_gets_a_placeholder_that_says_so(mr: Volume, tmp_path: Path) -> None:
    file = tmp_path / "brain.nii"
    file.write_bytes(b"content of one scan")
    volume = replace(mr, source=Source("nifti", (file,), header=object()))
    image = write(volume, tmp_path / "out")[0]
    baseline = write(volume, tmp_path / "out", "fbp", role="baseline")[0]
    assert "ANONYMOUS" in str(image.PatientName) and image.PatientID.startswith("MEDLDM-")
    assert "placeholder" in image.DerivationDescription
    assert image.StudyInstanceUID == baseline.StudyInstanceUID
    assert image.FrameOfReferenceUID == baseline.FrameOfReferenceUID
    assert image.SeriesInstanceUID != baseline.SeriesInstanceUID
    file.write_bytes(b"content of another scan")
    other = write(volume, tmp_path / "out", "other")[0]
    assert other.StudyInstanceUID != image.StudyInstanceUID and other.PatientID != image.PatientID


def test_hostile_strings_are_made_plain(ct: Volume, tmp_path: Path) -> None:
    method = "tv\\(x)\r\n\x1b[31m μ=0.1 " + "y" * 3000
    image = write(ct, tmp_path / "out", method=method, version="1\\2")[0]
    for words, limit in ((image.DerivationDescription, 1024), (image.SoftwareVersions, 64)):
        assert isinstance(words, str) and len(words) <= limit
        assert words.isascii() and words.isprintable() and "\\" not in words
    assert image.ImageComments == MADE.comment


def test_faulty_source_values_are_not_handed_on(ct: Volume, tmp_path: Path) -> None:
    assert ct.source is not None
    for header in ct.source.header:
        with pytest.warns(UserWarning):
            header.PatientAge = pydicom.DataElement("PatientAge", "AS", "0Y", validation_mode=pydicom.config.WARN).value
            header.add(pydicom.DataElement("PatientAge", "AS", "0Y", validation_mode=pydicom.config.WARN))
        header.PatientSex = "UNKNOWN"
    image = write(ct, tmp_path / "out")[0]
    assert "PatientAge" not in image and image.PatientSex == ""


def test_identity_removed_without_a_method_is_stated(ct: Volume, tmp_path: Path) -> None:
    assert ct.source is not None
    ct.source.header[0].PatientIdentityRemoved = "YES"
    assert write(ct, tmp_path / "out")[0].DeidentificationMethod == "as received, method not stated"


def test_lossy_stays_lossy(ct: Volume, tmp_path: Path) -> None:
    assert ct.source is not None
    ct.source.header[0].LossyImageCompression = "01"
    assert write(ct, tmp_path / "out")[0].LossyImageCompression == "01"


def _nan(volume: Volume) -> Volume:
    data = volume.data.clone()
    data[1, 2, 3] = torch.nan
    return replace(volume, data=data)


def _sheared(volume: Volume) -> Volume:
    affine = volume.grid.affine.copy()
    affine[:3, 0] += 0.4 * volume.grid.directions[:, 1]
    return replace(volume, grid=Grid(volume.grid.shape, affine))


def _attenuation(volume: Volume) -> Volume:
    return replace(volume, quantity="1/mm")


def _unknown(volume: Volume) -> Volume:
    return replace(volume, quantity="arbitrary", modality="OT")


@pytest.mark.parametrize(
    ("change", "code"),
    [(_nan, "E-PIX-01"), (_sheared, "E-DCM-30"), (_attenuation, "E-DCM-31"), (_unknown, "E-DCM-31")],
)
def test_refused_with_nothing_written(
    ct: Volume, tmp_path: Path, change: Callable[[Volume], Volume], code: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputRefused) as caught:
        DicomWriter().write(change(ct), out, "recon", MADE)
    assert caught.value.code == code
    assert list(out.iterdir()) == []
    if code != "E-PIX-01":  # what the values are nobody knows beforehand
        with pytest.raises(InputRefused, match=code):
            DicomWriter().require_writable(change(ct))
    DicomWriter().require_writable(ct)


def test_nothing_is_overwritten(ct: Volume, tmp_path: Path) -> None:
    write(ct, tmp_path / "out")
    with pytest.raises(InputRefused) as caught:
        write(ct, tmp_path / "out")
    assert caught.value.code == "E-DCM-33"


def test_failure_in_the_middle_leaves_nothing(ct: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    save = Dataset.save_as

    def full(self: Dataset, filename: Path, **options: bool) -> None:
        if filename.name == "0003.dcm":
            raise OSError(28, "No space left on device")
        save(self, filename, **options)

    monkeypatch.setattr(Dataset, "save_as", full)
    with pytest.raises(OSError, match="No space"):
        DicomWriter().write(ct, out, "recon", MADE)
    assert list(out.iterdir()) == []


def test_left_handed_grid_keeps_every_voxel_in_place(tmp_path: Path) -> None:
    volume = examples.volume()
    affine = volume.grid.affine.copy()
    affine[:3, 0] *= -1
    write(replace(volume, grid=Grid(volume.grid.shape, affine)), tmp_path / "out")
    again = back(tmp_path / "out")
    assert torch.equal(again.data, volume.data.flip(0))
    np.testing.assert_allclose(again.grid.world((0, 0, 0)), (affine @ [4, 0, 0, 1])[:3], atol=1e-6)


def test_highdicom_reads_the_same_place_and_values(ct: Volume, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
    images = write(ct, tmp_path / "out")
    volume = highdicom.get_volume_from_series(images)
    again = back(tmp_path / "out")
    index = np.stack([*np.indices(again.grid.shape).reshape(3, -1), np.ones(again.data.numel())])
    found = (np.linalg.inv(volume.affine) @ again.grid.affine @ index)[:3]
    assert np.abs(found - np.round(found)).max() < 1e-3
    np.testing.assert_allclose(volume.array[tuple(np.round(found).astype(int))], again.data.ravel(), atol=1e-3)


def test_enhanced_source_is_referred_to_by_frame(tmp_path: Path) -> None:
    """Two functional groups in one multi-frame instance: each written slice names its frame."""
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = pydicom.uid.EnhancedMRImageStorage, "1.2.3.7"
    header.SeriesInstanceUID, header.StudyInstanceUID, header.FrameOfReferenceUID = "1.2.3.6", "1.2.3.5", "1.2.3.8"
    grid = Grid.isotropic((2, 4, 6), (3.0, 1.0, 2.0))
    headers = []
    for k in range(2):
        one = copy.deepcopy(header)
        plane = Dataset()
        plane.ImagePositionPatient = [float(v) for v in grid.world((k, 0, 0))]
        groups = Dataset()
        groups.PlanePositionSequence = [plane]
        one.PerFrameFunctionalGroupsSequence = [groups]
        one.ReferencedFrameNumber = k + 1
        headers.append(one)
    source = Source("dicom", (), tuple(headers))
    volume = Volume(torch.rand(2, 4, 6), grid, "arbitrary", "MR", "mr", History(), source)
    images = write(volume, tmp_path / "out")
    assert [image.SourceImageSequence[0].ReferencedFrameNumber for image in images] == [1, 2]


@pytest.mark.parametrize("low", [-1024.0, 0.0, -3.25, 1e-9])
@pytest.mark.parametrize("extent", [0.0, 1e-7, 0.3, 1.0, 4095.0, 70000.0, 3e8])
def test_quantisation_error_is_at_most_half_a_step(low: float, extent: float) -> None:
    values = (low + extent * np.linspace(0, 1, 1001)).astype(np.float32)
    ends = float(values.min()), float(values.max())
    for quantise, finest in ((for_hounsfield, 2.0**-10), (for_arbitrary, 0.0)):
        q = quantise(*ends, whole=False)
        restored = q.slope * q.store(values).astype(np.float64) + q.intercept
        assert np.abs(restored - values).max() <= q.slope / 2
        assert q.slope <= max(finest, 4 * max(abs(ends[0]), abs(ends[1]), 1e-12) / 2**16) or ends[0] == ends[1]


VALIDATOR = shutil.which("dciodvfy")


@pytest.mark.skipif(VALIDATOR is None, reason="dciodvfy is not installed (Debian package dicom3tools)")
@pytest.mark.parametrize("kind", ["ct", "ct-no-source", "mr", "mr-dicom", "mr-signed", "head"])
def test_dciodvfy_finds_no_error(kind: str, ct: Volume, mr: Volume, tmp_path: Path) -> None:
    if kind == "mr-dicom":
        (volume,) = DicomReader().read(Path(str(get_testdata_file("MR_small.dcm"))), ReadRequest())
    elif kind == "head":
        (volume,) = DicomReader().read(Path(str(get_testdata_file("CT_small.dcm"))), ReadRequest())
    else:
        volume = {
            "ct": ct,
            "ct-no-source": replace(ct, source=None),
            "mr": mr,
            "mr-signed": replace(mr, data=mr.data - 0.05),
        }[kind]
    write(volume, tmp_path / "out")
    for file in sorted((tmp_path / "out" / "recon").iterdir()):
        assert VALIDATOR is not None
        report = subprocess.run([VALIDATOR, "-new", str(file)], capture_output=True, text=True, check=False)
        assert "Error" not in report.stderr and report.returncode == 0, report.stderr
