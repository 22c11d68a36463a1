"""Real series of several vendors: what must load loads, what must be refused is refused with its code."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medldm.data import Provenance, ReadRequest
from medldm.errors import InputRefused
from medldm_dicom.reader import DicomReader
from medldm_dicom.writer import DicomWriter

DATA = Path(os.environ.get("MEDLDM_TEST_DATA", Path(__file__).parents[4] / "shared" / "data")) / "public" / "dicom"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real scans: set MEDLDM_TEST_DATA")


def _folders(kind: str) -> list[str]:
    if not DATA.is_dir():
        return []
    return sorted({str(p.parent.relative_to(DATA)) for p in (DATA / kind).rglob("*") if p.is_file()})


@pytest.mark.parametrize("folder", [f for f in _folders("valid") if "rgb" not in f])
def test_valid_series_loads(folder: str) -> None:
    files = [p for p in (DATA / folder).iterdir() if p.is_file()]
    (volume,) = DicomReader().read(DATA / folder, ReadRequest())
    first = pydicom.dcmread(files[0])
    assert volume.grid.shape[0] == len(files) * int(first.get("NumberOfFrames") or 1)
    assert volume.grid.shape[1:] == (first.Rows, first.Columns)
    assert volume.grid.shear_degrees < 0.1
    assert volume.modality == first.Modality
    assert volume.quantity == ("HU" if first.Modality == "CT" else "arbitrary")
    assert float(volume.data.std()) > 0


def test_colour_series_is_refused() -> None:
    with pytest.raises(InputRefused) as refused:
        DicomReader().read(DATA / "valid/generic/rgb/001", ReadRequest())
    assert refused.value.code == "E-DCM-04"


REFUSED = [
    ("ct-head-tilted-uneven", ReadRequest(), "E-GEO-02"),
    ("ct-head-tilted-uneven", ReadRequest(allow_gaps="resample"), "E-GEO-03"),
    ("ct-head-tilted-uneven", ReadRequest(untilt=True), "E-GEO-02"),
    ("gantrytilting/001", ReadRequest(), "E-GEO-03"),
    ("notavolume/001", ReadRequest(), "E-GEO-07"),
    ("notavolume/001", ReadRequest(allow_gaps="resample", untilt=True), "E-GEO-07"),
    ("slicecount/001", ReadRequest(), "E-GEO-12"),
    ("sliceincrement/001", ReadRequest(), "E-GEO-01"),
    ("sliceincrement/002", ReadRequest(), "E-GEO-01"),
    ("sliceorientation/001", ReadRequest(), "E-GEO-04"),
]


@pytest.mark.parametrize(("folder", "request_", "code"), REFUSED)
def test_refused_with_code_sentence_and_remedy(folder: str, request_: ReadRequest, code: str) -> None:
    with pytest.raises(InputRefused) as refused:
        DicomReader().read(DATA / "refuse" / folder, request_)
    assert refused.value.code == code
    assert refused.value.what and refused.value.why and refused.value.fix


def test_every_refusal_folder_is_listed() -> None:
    assert {f.removeprefix("refuse/") for f in _folders("refuse")} == {folder for folder, _, _ in REFUSED}


LOADS_BY_OPTION = [
    ("ct-head-tilted-uneven", ReadRequest(untilt=True, allow_gaps="resample"), 17),
    ("gantrytilting/001", ReadRequest(untilt=True), 4),
    ("slicecount/001", ReadRequest(allow_gaps="resample"), 2),
    ("sliceincrement/001", ReadRequest(allow_gaps="resample"), 5),
    ("sliceincrement/002", ReadRequest(untilt=True, allow_gaps="resample"), 5),
    ("sliceorientation/001", ReadRequest(series="#1"), 2),
    ("sliceorientation/001", ReadRequest(series="#2"), 2),
]


@pytest.mark.parametrize(("folder", "request_", "slices"), LOADS_BY_OPTION)
def test_loads_under_the_option_the_refusal_names(folder: str, request_: ReadRequest, slices: int) -> None:
    (volume,) = DicomReader().read(DATA / "refuse" / folder, request_)
    assert volume.grid.shape[0] == slices
    assert volume.grid.shear_degrees < 1e-3
    names = [event.name for event in volume.history.events]
    assert ("untilt" in names) == request_.untilt
    assert ("resample-gaps" in names) == (request_.allow_gaps is not None)


def test_tilt_of_the_head_is_measured_from_positions() -> None:
    request = ReadRequest(untilt=True, allow_gaps="resample")
    (volume,) = DicomReader().read(DATA / "refuse/ct-head-tilted-uneven", request)
    (event,) = (e for e in volume.history.events if e.name == "untilt")
    assert event.settings["degrees"] == pytest.approx(18.5, abs=0.01)


@pytest.mark.parametrize("folder", [f for f in _folders("enhanced") if f != "enhanced"])
def test_enhanced_folder_loads(folder: str) -> None:
    (volume,) = DicomReader().read(DATA / folder, ReadRequest())
    (file,) = (DATA / folder).iterdir()
    image = pydicom.dcmread(file)
    assert volume.grid.shape == (int(image.NumberOfFrames), image.Rows, image.Columns)
    _check_frames(volume, image)


@pytest.mark.parametrize("file", sorted(p.name for p in (DATA / "enhanced").glob("*.dcm")) if DATA.is_dir() else [])
def test_enhanced_file_loads(file: str) -> None:
    (volume,) = DicomReader().read(DATA / "enhanced" / file, ReadRequest())
    _check_frames(volume, pydicom.dcmread(DATA / "enhanced" / file))


def _check_frames(volume, image) -> None:  # type: ignore[no-untyped-def]
    """Each frame lies where its own PlanePosition says, with its own rescale."""
    pixels = image.pixel_array.astype(np.float64)
    starts = volume.grid.world(np.stack([np.arange(volume.grid.shape[0]), *np.zeros((2, volume.grid.shape[0]))], 1))
    for index, groups in enumerate(image.PerFrameFunctionalGroupsSequence):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        k = int(np.argmin(np.linalg.norm(starts - position, axis=1)))
        assert np.linalg.norm(starts[k] - position) < 0.01
        shared = image.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in image else groups
        rescale = (groups if "PixelValueTransformationSequence" in groups else shared).PixelValueTransformationSequence
        expected = pixels[index] * float(rescale[0].RescaleSlope) + float(rescale[0].RescaleIntercept)
        np.testing.assert_allclose(volume.data[k].numpy(), expected, rtol=1e-6, atol=1e-4)


def test_time_series_of_enhanced_files_asks_for_the_volume() -> None:
    rows = DicomReader().inspect(DATA / "enhanced")
    (number,) = (row.index for row in rows if row.files == 4)
    with pytest.raises(InputRefused, match="TemporalPositionIndex") as refused:
        DicomReader().read(DATA / "enhanced", ReadRequest(series=f"#{number}"))
    assert refused.value.code == "E-DCM-12"
    for index in range(4):
        (volume,) = DicomReader().read(DATA / "enhanced", ReadRequest(series=f"#{number}", volume_index=index))
        (alone,) = DicomReader().read(DATA / f"enhanced/Siemens__XA10__6_{index + 1}.dcm", ReadRequest())
        assert volume.grid == alone.grid
        assert bool((volume.data == alone.data).all())


# Largest difference to the uncompressed slice in HU: none for lossless codes, else what their quantisation allows.
LOSSY = {".4.91": 8, ".4.81": 2, ".4.50": 80, ".4.51": 40, ".4.53": 40, ".4.55": 40}


@pytest.mark.parametrize("file", sorted(p.name for p in (DATA / "encodings").glob("*.dcm")) if DATA.is_dir() else [])
def test_transfer_syntax_decodes(file: str) -> None:
    pytest.importorskip("gdcm", reason="the codecs extra is not installed")
    (volume,) = DicomReader().read(DATA / "encodings" / file, ReadRequest())
    plain = pydicom.dcmread(DATA / "encodings/CTImage.dcm")
    expected = plain.pixel_array.astype(np.float64) * plain.RescaleSlope + plain.RescaleIntercept
    allowed = next((limit for ending, limit in LOSSY.items() if f"{ending}.dcm" in file), 0)
    difference = np.abs(volume.data[0].numpy() - expected)
    assert difference.max() <= allowed
    assert volume.grid.spacing == pytest.approx((6.5, 0.675781, 0.675781))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian package dicom3tools)")
@pytest.mark.parametrize(
    "folder",
    [
        "valid/ct-chest-15",
        "valid/ge/anatomical/001",
        "valid/generic/anatomical/002_non_isotropic",
        "valid/hitachi/anatomical/001",
        "valid/hyperfine/anatomical/001",
        "enhanced/philips_enhanced/anatomical/001",
    ],
)
def test_derived_series_of_every_vendor_has_no_error(folder: str, tmp_path: Path) -> None:
    (volume,) = DicomReader().read(DATA / folder, ReadRequest())
    made = Provenance("reconstruction", "tv", "0.1.0", "a" * 64, 7, datetime(2026, 1, 1, tzinfo=UTC), simulated=True)
    files = DicomWriter().write(volume, tmp_path, "recon", made)
    report = subprocess.run(["dciodvfy", "-new", str(files[-1])], capture_output=True, text=True, check=False)
    assert "Error" not in report.stderr and report.returncode == 0, report.stderr
    (again,) = DicomReader().read(tmp_path / "recon", ReadRequest())
    assert again.grid == volume.grid
    assert float((again.data - volume.data).abs().max()) <= float(volume.data.abs().max()) / 2**15
