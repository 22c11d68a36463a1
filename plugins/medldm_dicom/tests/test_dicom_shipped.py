"""Files that come with pydicom: scouts, gaps, turning projections, one series, several encodings."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm_dicom.reader import DicomReader


def _shipped(relative: str) -> Path:
    return Path(str(get_testdata_file("CT_small.dcm"))).parent / relative


def test_shipped_ct_series_with_a_fifth_of_a_metre_missing() -> None:
    assert (_shipped("dicomdirtests") / "77654033/CT2").is_dir()
    with pytest.raises(InputRefused) as caught:
        DicomReader().read(_shipped("dicomdirtests/77654033/CT2"), ReadRequest())
    assert caught.value.code == "E-GEO-01"


@pytest.mark.parametrize(
    ("folder", "code"),
    [("98892001/CT2N", "E-GEO-08"), ("98892003/MR700", "E-GEO-04"), ("98892003", "E-DCM-10")],
)
def test_shipped_scouts_and_rotating_projections(folder: str, code: str) -> None:
    with pytest.raises(InputRefused) as caught:
        DicomReader().read(_shipped("dicomdirtests") / folder, ReadRequest())
    assert caught.value.code == code


def test_shipped_ct_volume() -> None:
    (volume,) = DicomReader().read(_shipped("dicomdirtests/98892001/CT5N"), ReadRequest())
    assert volume.grid.shape == (5, 16, 16)
    assert volume.grid.spacing == pytest.approx((2.5, 0.488281, 0.488281), abs=1e-4)


@pytest.mark.parametrize(
    "name", ["MR_small_RLE", "MR_small_implicit", "MR_small_bigendian", "MR_small_jp2klossless", "MR_small_padded"]
)
def test_shipped_encodings_give_the_same_pixels(name: str) -> None:
    pytest.importorskip("openjpeg", reason="the codecs extra is not installed")
    (plain,) = DicomReader().read(_shipped("MR_small.dcm"), ReadRequest())
    (other,) = DicomReader().read(_shipped(f"{name}.dcm"), ReadRequest())
    assert bool((plain.data == other.data).all())
    assert plain.modality == "MR" and plain.quantity == "arbitrary"
