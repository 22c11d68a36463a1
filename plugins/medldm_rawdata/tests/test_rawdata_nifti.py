"""k-space and sinograms in NIfTI, written by nibabel: which reader takes them, and what is refused."""

from __future__ import annotations

import gzip
import json

import nibabel
import numpy as np
import pytest
import torch

from medldm.batch.folder_scan import scan_folder
from medldm.data import Acquisition, ReadRequest, Volume
from medldm.errors import InputRefused
from medldm.host import load_host
from medldm.pipeline.reading import inspect, read_case
from medldm_rawdata.array_reader import KSpaceArrayReader
from medldm_rawdata.example_files import described
from medldm_rawdata.projections.examples import discs, sinogram_header

PLAIN = {"axes": ["z", "coil", "ky", "kx"], "spacing_mm": [4, 2, 1.5], "noise_std": 0.25}


def truth(shape=(3, 2, 10, 9)) -> np.ndarray:
    random = np.random.default_rng(1)
    return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(np.complex64)


def saved(path, array, kind=nibabel.Nifti1Image, **entries):
    """NIfTI's axes run from the fastest: the transposed array."""
    nibabel.save(kind(array.transpose(), np.eye(4)), path)
    return described(path, {**PLAIN, **entries})


def one(path, **request):
    (found,) = KSpaceArrayReader().read(path, ReadRequest(**request))
    return found


def code_of(path, **request):
    with pytest.raises(InputRefused) as refusal:
        one(path, **request)
    assert [problem.code for problem in KSpaceArrayReader().inspect(path)[0].problems] or request
    return refusal.value.code


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["<c8", ">c8", "c16"])
def test_the_axes_are_named_as_numpy_has_them(name, kind, dtype, tmp_path):
    path = tmp_path / name
    array = truth().astype(dtype)
    image = kind(array.transpose(), np.eye(4), kind.header_class(endianness=">" if dtype[0] == ">" else "<"))
    image.set_data_dtype(array.dtype)
    nibabel.save(image, path)
    path.with_name(name.split(".")[0] + ".json").write_text(
        json.dumps({"format": "medldm-kspace", "version": 1, **PLAIN})
    )
    found = one(path)
    assert torch.equal(found.data, torch.from_numpy(truth()))
    assert found.grid.spacing == pytest.approx((4, 2, 1.5))
    assert found.name == name.split(".")[0]


def test_axes_in_another_order_and_a_scale(tmp_path):
    path = saved(tmp_path / "scan.nii.gz", truth().transpose(3, 0, 2, 1), axes=["kx", "z", "ky", "coil"])
    assert torch.equal(one(path).data, torch.from_numpy(truth()))
    path = saved(tmp_path / "scan.nii", truth())
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([2.0, 0.0], "<f4").tobytes()  # scl_slope and scl_inter of nifti1.h
    path.write_bytes(bytes(content))
    assert torch.equal(one(path).data, torch.from_numpy(2 * truth()))
    content[116:120] = np.array([1.0], "<f4").tobytes()
    path.write_bytes(bytes(content))
    assert code_of(path) == "E-KSP-08"


def test_an_extension_before_the_samples_is_passed_over(tmp_path):
    image = nibabel.Nifti1Image(truth().transpose(), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"read, phase, coil, slice"))
    nibabel.save(image, tmp_path / "scan.nii.gz")
    described(tmp_path / "scan.nii.gz", PLAIN)
    assert torch.equal(one(tmp_path / "scan.nii.gz").data, torch.from_numpy(truth()))


def test_who_reads_what(tmp_path):
    host = load_host()
    kspace = saved(tmp_path / "scan.nii.gz", truth())
    found = read_case(host, kspace)
    assert isinstance(found, Acquisition)
    assert (found.physics, inspect(host, kspace)[0].format) == ("mri-cartesian", "kspace-array")
    # Images keep their reader, with a JSON of another program beside them, a broken one, or one of other numbers.
    for number, text in enumerate(("", "{", "[]", '{"Modality": "MR"}', '{"format": "BIDS"}')):
        image = tmp_path / f"image{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.float32), np.eye(4)), image)
        (tmp_path / f"image{number}.json").write_text(text)
        assert isinstance(read_case(host, image), Volume), text
    values = discs(np.arange(15) * 24.0, 19, 9.0).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values.transpose(), np.eye(4)), tmp_path / "views.nii.gz")
    for beside, kind in (("views", Acquisition), ("image0", Volume)):
        (tmp_path / f"{beside}.json").write_text(json.dumps(sinogram_header(data="views.nii.gz")))
        assert isinstance(read_case(host, tmp_path / f"{beside}.nii.gz"), kind)
    sinogram = read_case(host, tmp_path / "views.nii.gz")
    np.testing.assert_allclose(sinogram.data.numpy(), values, atol=1e-5)
    assert inspect(host, tmp_path / "views.nii.gz")[0].format == "sinogram"
    # Each is one scan of a folder, and the file that describes it none of its own.
    (tmp_path / "image0.json").unlink()
    rows = scan_folder(host, tmp_path).rows
    assert sorted(row.output for row in rows) == [*(f"image{i}" for i in range(5)), "scan", "views"]


def test_a_description_of_another_kind_is_not_taken(tmp_path):
    for entries in ({"format": "medldm-sinogram"}, {"format": None}):
        path = saved(tmp_path / "scan.nii.gz", truth(), **entries)
        assert not KSpaceArrayReader().accepts(path)
    (tmp_path / "scan.json").unlink()
    assert not KSpaceArrayReader().accepts(path)
    assert code_of(path) == "E-KSP-04"


def test_images_and_masks_are_no_kspace(tmp_path):
    for array in (truth().real, np.abs(truth()).astype(np.int16)):
        assert code_of(saved(tmp_path / "scan.nii", array)) == "E-KSP-08"
    assert code_of(saved(tmp_path / "scan.nii", truth()[0])) == "E-KSP-08"
    assert code_of(saved(tmp_path / "scan.nii", truth(), sampling="mask")) == "E-KSP-05"
    assert code_of(tmp_path / "none.nii") == "E-KSP-01"


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_damaged_files(name, tmp_path):
    path = saved(tmp_path / name, truth())
    content = path.read_bytes()
    for length in (0, 1, 3, 100, 347, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert code_of(path) == "E-KSP-02", length
    plain = bytearray(gzip.decompress(content) if name.endswith("gz") else content)
    pack = gzip.compress if name.endswith("gz") else bytes
    for at, value in ((344, b"ni1\0"), (108, np.float32(5e9).tobytes()), (108, b"\0" * 4), (42, b"\xff\xff")):
        broken = plain.copy()
        broken[at : at + len(value)] = value
        path.write_bytes(pack(bytes(broken)))
        assert code_of(path) == "E-KSP-02", (at, value)
    if name.endswith("gz"):
        # The last eight bytes are the checksum and the length of what was compressed.
        path.write_bytes(content[:-8] + bytes(8))
        assert code_of(path) == "E-KSP-02"


def test_no_more_is_expanded_than_is_allowed(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((64, 64, 512), np.complex64), np.eye(4))
    nibabel.save(image, tmp_path / "bomb.nii.gz")
    path = described(tmp_path / "bomb.nii.gz", {**PLAIN, "axes": ["coil", "ky", "kx"]})
    assert path.stat().st_size < 2**17
    assert code_of(path, max_bytes=2**24) == "E-KSP-10"
    # What its header claims is more than so few bytes can hold.
    block = bytearray(gzip.decompress(path.read_bytes())[:352])
    block[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(block)))
    assert code_of(path, max_bytes=2**62) == "E-KSP-02"
