"""What is accepted, how it is understood, and what is refused with which code."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medldm.data import ReadRequest
from medldm.errors import InputRefused, MedldmError, UsageError
from medldm_nifti import container
from medldm_nifti.reader import NiftiReader

SHARED = Path(os.environ.get("MEDLDM_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
AFFINE = np.array([[-1.5, 0, 0, 10], [0, 2.0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1.0]])
DATA = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def make(path: Path, data=DATA, *, kind=nibabel.Nifti1Image, sform=1, qform=1, affine=AFFINE, **fields) -> Path:
    """A file of nibabel's with header fields overwritten byte by byte, past nibabel's own checks."""
    image = kind(data, affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform)
    image.header.set_xyzt_units("mm")
    plain = path.with_name("plain.nii")
    image.to_filename(plain)
    content = bytearray(plain.read_bytes())
    plain.unlink()
    size = 540 if kind is nibabel.Nifti2Image else 348
    header = type(image.header)(bytes(content[:size]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:size] = header.binaryblock
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def read(path: Path, **request):
    (found,) = NiftiReader().read(path, ReadRequest(**request))
    return found


def code_of(path: Path, **request) -> str:
    with pytest.raises(MedldmError) as refusal:
        NiftiReader().read(path, ReadRequest(**request))
    assert refusal.value.what.endswith(".") and refusal.value.fix
    return refusal.value.code


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_versions_and_compression(kind, name, tmp_path):
    path = make(tmp_path / name, kind=kind)
    found = read(path)
    assert torch.equal(found.data, torch.from_numpy(DATA.transpose(2, 1, 0).astype(np.float32)))
    assert found.grid.spacing == (3.0, 2.0, 1.5)
    assert found.grid.orientation == "SAL"
    assert found.name.lower() == "a"


def test_header_and_image_in_two_files(tmp_path):
    image = nibabel.Nifti1Pair(DATA, AFFINE)
    image.set_sform(AFFINE, code=1)
    image.to_filename(tmp_path / "a.hdr")
    for name in ("a.hdr", "a.img"):
        assert NiftiReader().accepts(tmp_path / name)
        assert torch.equal(read(tmp_path / name).data, torch.from_numpy(DATA.transpose(2, 1, 0).astype(np.float32)))
    assert len(NiftiReader().inspect(tmp_path)) == 1
    (tmp_path / "a.img").unlink()
    assert code_of(tmp_path / "a.hdr") == "E-NII-02"


def test_big_endian_and_scaling(tmp_path):
    image = nibabel.Nifti1Image(DATA.astype(">i2"), AFFINE, nibabel.Nifti1Header(endianness=">"))
    image.header.set_data_dtype(">i2")
    image.header.set_slope_inter(0.5, -3)
    image.to_filename(tmp_path / "a.nii")
    stored = np.asarray(nibabel.load(tmp_path / "a.nii").dataobj.get_unscaled())
    expected = stored.astype(np.float64) * 0.5 - 3
    np.testing.assert_array_equal(read(tmp_path / "a.nii").data.numpy(), expected.transpose(2, 1, 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.float32, np.float64])
def test_sample_types(dtype, tmp_path):
    data = (DATA % 100).astype(dtype)
    found = read(make(tmp_path / "a.nii", data))
    assert found.data.dtype == torch.float32
    np.testing.assert_array_equal(found.data.numpy(), data.transpose(2, 1, 0))


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_keeps_its_phase(dtype, tmp_path):
    data = (DATA + 1j * DATA[::-1]).astype(dtype)
    found = read(make(tmp_path / "a.nii", data))
    assert found.data.dtype == torch.complex64
    np.testing.assert_array_equal(found.data.numpy(), data.transpose(2, 1, 0))


def test_metre_and_micron_become_mm(tmp_path):
    for unit, factor in ((1, 1000.0), (3, 1e-3)):
        path = make(tmp_path / "a.nii", xyzt_units=unit)
        assert read(path).grid.spacing == pytest.approx((3 * factor, 2 * factor, 1.5 * factor))


def test_unknown_unit_is_noted(tmp_path):
    (row,) = NiftiReader().inspect(make(tmp_path / "a.nii", xyzt_units=0))
    assert ("E-NII-19", "note") in [(p.code, p.severity) for p in row.problems]


def test_sform_wins_and_a_contradicting_qform_is_warned_of(tmp_path):
    path = make(tmp_path / "a.nii", qoffset_x=14.0)
    assert read(path).grid.affine[0, 3] == -10.0
    (row,) = NiftiReader().inspect(path)
    (problem,) = [p for p in row.problems if p.code == "E-NII-13"]
    assert problem.severity == "warning"
    assert "4 mm" in problem.sentence
    assert read(path).history.problems == (problem,)
    agreeing = NiftiReader().inspect(make(tmp_path / "b.nii", qoffset_x=10.05))[0]
    assert "E-NII-13" not in [p.code for p in agreeing.problems]


def test_qform_serves_when_there_is_no_sform(tmp_path):
    path = make(tmp_path / "a.nii", sform=0, srow_x=np.nan)
    assert read(path).grid == read(make(tmp_path / "b.nii")).grid
    assert read(path).history.as_list()[0]["orientation_from"] == "qform"


def test_a_qform_without_handedness_is_right_handed(tmp_path):
    affine = AFFINE * [[-1, 1, 1, 1]]
    for qfac in (0, 1):
        path = make(tmp_path / "a.nii", affine=affine, sform=0, pixdim=[qfac, 1.5, 2, 3, 1, 1, 1, 1])
        np.testing.assert_allclose(read(path).grid.affine[:3, :3], np.fliplr(np.diag([-1.5, -2, 3])[:, :]), atol=1e-6)
    mirrored = make(tmp_path / "b.nii", affine=affine, sform=0, pixdim=[-1, 1.5, 2, 3, 1, 1, 1, 1])
    assert read(mirrored).grid.affine[2, 0] == -3


@pytest.mark.parametrize("fields", [{"quatern_b": np.nan}, {"quatern_c": 7.0}, {"qoffset_y": np.inf}])
def test_an_invalid_qform_beside_an_sform_is_warned_of(fields, tmp_path):
    path = make(tmp_path / "a.nii", **fields)
    assert read(path).grid == read(make(tmp_path / "b.nii")).grid
    (row,) = NiftiReader().inspect(path)
    assert "E-NII-13" in [p.code for p in row.problems]


def test_no_orientation_is_refused_or_assumed(tmp_path):
    path = make(tmp_path / "a.nii", sform=0, qform=0)
    with pytest.raises(InputRefused) as refusal:
        read(path)
    assert refusal.value.code == "E-NII-11"
    assert "--assume-orientation RAS" in refusal.value.fix
    found = read(path, assume_orientation="RAS")
    assert found.grid.orientation == "SAR"
    assert found.grid.spacing == (3.0, 2.0, 1.5)
    np.testing.assert_allclose(found.grid.world((2.5, 2.0, 1.5)), 0, atol=1e-9)
    assert {"event": "orientation-assumed", "code": "RAS"} in found.history.as_list()
    assert read(path, assume_orientation="psl").grid.orientation == "LSP"
    for wrong in ("RA", "RAX", "RLS", ""):
        with pytest.raises(UsageError) as usage:
            read(path, assume_orientation=wrong)
        assert usage.value.code == "E-NII-16"


def test_an_assumption_does_not_overrule_the_file(tmp_path):
    path = make(tmp_path / "a.nii")
    assert read(path, assume_orientation="LPI").grid == read(path).grid


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"srow_y": np.nan}, "E-NII-12"),
        ({"srow_x": 0, "srow_y": 0, "srow_z": 0}, "E-NII-12"),
        ({"srow_x": [1, 1, 0, 0], "srow_y": [1, 1, 0, 0], "srow_z": [0, 0, 1, 0]}, "E-NII-12"),
        ({"sform_code": 0, "quatern_b": 3.0}, "E-NII-12"),
        ({"sform_code": 0, "pixdim": [1, 0, 1, 1, 1, 1, 1, 1]}, "E-NII-12"),
        ({"sform_code": 0, "pixdim": [1, np.nan, 1, 1, 1, 1, 1, 1]}, "E-NII-12"),
        ({"sform_code": 0, "pixdim": [1, 1, -2, 1, 1, 1, 1, 1]}, "E-NII-12"),
        ({"sform_code": 0, "quatern_d": np.nan}, "E-NII-12"),
        ({"scl_slope": np.inf}, "E-NII-10"),
        ({"scl_slope": np.nan}, "E-NII-10"),
        ({"scl_slope": 1, "scl_inter": -np.inf}, "E-NII-10"),
        ({"datatype": 128, "bitpix": 24}, "E-NII-09"),
        ({"datatype": 2304, "bitpix": 32}, "E-NII-09"),
        ({"datatype": 1536, "bitpix": 128}, "E-NII-09"),
        ({"datatype": 1, "bitpix": 1}, "E-NII-09"),
        ({"datatype": 77}, "E-NII-09"),
        ({"dim": [3, 4, -5, 6, 1, 1, 1, 1]}, "E-NII-08"),
        ({"dim": [3, 4, 0, 6, 1, 1, 1, 1]}, "E-NII-08"),
        ({"dim": [9, 4, 5, 6, 1, 1, 1, 1]}, "E-NII-08"),
        ({"dim": [5, 4, 5, 1, 1, 6, 1, 1]}, "E-NII-08"),
        ({"vox_offset": np.nan}, "E-NII-08"),
        ({"vox_offset": 0}, "E-NII-08"),
        ({"vox_offset": -400}, "E-NII-08"),
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "E-NII-05"),
        ({"dim": [3, 4, 5, 7, 1, 1, 1, 1]}, "E-NII-05"),
        ({"magic": b"xyz"}, "E-NII-03"),
        ({"magic": b""}, "E-NII-03"),
    ],
)
def test_headers_that_cannot_be_trusted(fields, code, tmp_path):
    path = make(tmp_path / "a.nii", **fields)
    assert code_of(path) == code
    (row,) = NiftiReader().inspect(path)
    assert (code, "error") in [(p.code, p.severity) for p in row.problems]


def test_absurd_dimensions_in_gzip_allocate_nothing(tmp_path):
    path = make(tmp_path / "a.nii.gz", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    assert code_of(path, max_bytes=2**62) == "E-NII-05"


def test_damaged_files(tmp_path):
    good = make(tmp_path / "good.nii.gz").read_bytes()
    noise = np.random.default_rng(0).integers(0, 1000, (40, 50, 60)).astype(np.int16)
    large = make(tmp_path / "large.nii.gz", noise).read_bytes()
    flipped = bytearray(large)
    flipped[-6] ^= 0xFF
    cases = {
        "empty.nii": (b"", "E-NII-03"),
        "empty.nii.gz": (b"", "E-NII-03"),
        "text.nii.gz": (b"Dear colleague,\n" * 100, "E-NII-03"),
        "short.nii": (gzip.decompress(good)[:200], "E-NII-03"),
        "head.nii.gz": (good[:15], "E-NII-04"),
        "half.nii.gz": (large[: len(large) // 2], "E-NII-04"),
        "checksum.nii.gz": (bytes(flipped), "E-NII-04"),
        "garbled.nii.gz": (large[:5000] + bytes(3000) + large[8000:], "E-NII-04"),
        "inner.nii.gz": (gzip.compress(gzip.decompress(large)[:-9000]), "E-NII-05"),
        "half.nii": (gzip.decompress(large)[:5000], "E-NII-05"),
    }
    for name, (content, code) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert NiftiReader().accepts(path)
        assert code_of(path) == code, name


def test_missing_file_and_folder_in_its_place(tmp_path):
    assert code_of(tmp_path / "none.nii.gz") == "E-NII-01"
    assert not NiftiReader().accepts(tmp_path / "none.nii.gz")
    assert not NiftiReader().accepts(tmp_path)


def test_a_bomb_is_refused_before_it_expands(tmp_path, monkeypatch):
    zeros = make(tmp_path / "zeros.nii.gz", np.zeros((80, 80, 90), dtype=np.float64))
    assert read(zeros).data.abs().max() == 0
    monkeypatch.setattr(container, "RATIO_FREE_BYTES", 2**20)
    assert code_of(zeros) == "E-NII-06"


def test_the_memory_limit_holds(tmp_path):
    path = make(tmp_path / "a.nii.gz")
    assert code_of(path, max_bytes=DATA.size * 6 - 1) == "E-NII-07"
    assert read(path, max_bytes=DATA.size * 6).data.numel() == DATA.size


def test_4d_files_need_a_choice(tmp_path):
    stack = np.stack([DATA, DATA + 200, DATA + 400], -1)
    path = make(tmp_path / "a.nii.gz", stack)
    with pytest.raises(InputRefused) as refusal:
        read(path)
    assert refusal.value.code == "E-NII-14"
    assert "3 volumes" in refusal.value.what
    assert torch.equal(read(path, volume_index=2).data, torch.from_numpy((DATA + 400.0).T.astype(np.float32)))
    assert code_of(path, volume_index=3) == "E-NII-15"
    assert code_of(path, volume_index=-1) == "E-NII-15"
    assert read(make(tmp_path / "b.nii", stack[..., :1])).grid.shape == (6, 5, 4)


def test_a_plane_is_a_volume_of_one_slice(tmp_path):
    assert read(make(tmp_path / "a.nii", DATA[..., :1], dim=[2, 4, 5, 1, 1, 1, 1, 1])).grid.shape == (1, 5, 4)


def test_modality_is_stated_or_inferred_and_said(tmp_path):
    hounsfield = (DATA * 10 - 1024).astype(np.int16)
    ct = make(tmp_path / "ct.nii", hounsfield)
    found = read(ct)
    assert (found.modality, found.quantity) == ("CT", "HU")
    assert {"event": "modality-inferred", "modality": "CT", "minimum": -1024.0} in found.history.as_list()
    (noticed,) = found.history.problems
    assert (noticed.code, noticed.severity) == ("E-NII-20", "note") and "CT" in noticed.sentence
    assert "E-NII-20" in [p.code for p in NiftiReader().inspect(ct)[0].problems]

    small = NiftiReader().inspect(make(tmp_path / "small.nii", DATA.astype(np.uint8)))[0]
    assert "E-NII-20" not in [p.code for p in small.problems]
    shifted = make(tmp_path / "shifted.nii", (DATA * 10).astype(np.uint16), scl_slope=1, scl_inter=-1024)
    assert read(shifted).quantity == "HU"

    assert read(ct, modality="MR").quantity == "arbitrary"
    for name, data in {"mr": DATA, "phase": DATA * 100 - 4096, "float": hounsfield.astype(np.float32)}.items():
        found = read(make(tmp_path / f"{name}.nii", data))
        assert (found.modality, found.quantity) == ("OT", "arbitrary"), name
    told = read(tmp_path / "float.nii", modality="CT")
    assert (told.modality, told.quantity) == ("CT", "HU")

    for modality in ("CT", "MR"):
        (tmp_path / "float.json").write_text(json.dumps({"Modality": modality}))
        assert read(tmp_path / "float.nii").modality == modality
    (tmp_path / "float.json").write_text("[")
    assert read(tmp_path / "float.nii").modality == "OT"


def test_folders_list_their_files_and_ask(tmp_path):
    make(tmp_path / "b.nii.gz")
    make(tmp_path / "a.nii")
    (tmp_path / "notes.hdr").write_text("# Dimensions\n4 5 6\n")
    (tmp_path / "c.nii").write_bytes(b"nothing")
    rows = NiftiReader().inspect(tmp_path)
    assert [(r.index, r.identifier, r.shape) for r in rows] == [
        (1, "a.nii", (6, 5, 4)),
        (2, "b.nii.gz", (6, 5, 4)),
        (3, "c.nii", None),
    ]
    assert rows[0].spacing == (3.0, 2.0, 1.5) and rows[0].orientation == "SAL"
    assert code_of(tmp_path) == "E-NII-17"
    assert code_of(tmp_path, series="#7") == "E-NII-17"
    assert read(tmp_path, series="#2").name == "b"
    assert read(tmp_path, series="a.nii").name == "a"


def test_sagittal_storage_is_noted(tmp_path):
    turned = AFFINE[:, [1, 2, 0, 3]]
    (row,) = NiftiReader().inspect(make(tmp_path / "a.nii", affine=turned))
    assert "sagittal" in next(p.sentence for p in row.problems if p.code == "E-NII-23")


def test_inspecting_reads_no_voxels(tmp_path, monkeypatch):
    monkeypatch.setattr(container.Container, "voxels", lambda *_: pytest.fail("voxels were read"))
    (row,) = NiftiReader().inspect(make(tmp_path / "a.nii.gz"))
    assert row.shape == (6, 5, 4)


@pytest.mark.parametrize("name", ["ct/chest-512.nii.gz", "mri/whole-head-t2w.nii.gz"])
def test_real_scans(name):
    path = SHARED / "public" / name
    if not path.is_file():
        pytest.skip(f"real scans are not at {SHARED}")
    found = read(path).require_finite()
    oracle = nibabel.load(path)
    np.testing.assert_array_equal(found.data.numpy(), np.asarray(oracle.dataobj).T.astype(np.float32))
    center = nibabel.affines.apply_affine(oracle.affine, (3, 4, 5))
    np.testing.assert_allclose(found.grid.world((5, 4, 3)), center * (-1, -1, 1), atol=1e-6)
    assert found.modality == ("CT" if name.startswith("ct") else "OT")
