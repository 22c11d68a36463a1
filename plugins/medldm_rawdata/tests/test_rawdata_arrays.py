"""Arrays of k-space with a description, NumPy's and BART's."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
import torch

from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm_rawdata.array_reader import KSpaceArrayReader
from medldm_rawdata.bart_reader import BartReader
from medldm_rawdata.example_files import described, write_bart
from medldm_rawdata.kspace_noise import NoiseScan, outer_noise
from medldm_rawdata.kspace_sampling import full_centre
from medldm_rawdata.kspace_transform import to_frequency

SHAPE = (3, 2, 10, 9)
PLAIN = {"axes": ["z", "coil", "ky", "kx"], "spacing_mm": [4, 2, 1.5], "noise_std": 0.25}


def truth(shape=SHAPE, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(np.complex64)


def saved(folder, array, **description):
    path = folder / "scan.npy"
    np.save(path, array)
    return described(path, {**PLAIN, **description})


def one(path, reader=None, **request):
    (found,) = (reader or KSpaceArrayReader()).read(path, ReadRequest(**request))
    return found


def code_of(path, reader=None, **request):
    with pytest.raises(InputRefused) as refusal:
        (reader or KSpaceArrayReader()).read(path, ReadRequest(**request))
    return refusal.value.code


def test_axes_in_any_order(tmp_path):
    found = one(saved(tmp_path, truth().transpose(3, 0, 2, 1), axes=["kx", "z", "ky", "coil"]))
    assert torch.equal(found.data, torch.from_numpy(truth()))
    assert found.noise_std == 0.25
    assert found.settings["noise"] == "stated"
    assert found.grid.spacing == pytest.approx((4, 2, 1.5))
    plane = one(saved(tmp_path, truth()[0, 0], axes=["ky", "kx"]))
    assert plane.data.shape == (1, 1, 10, 9)
    wide = one(saved(tmp_path, truth().astype(np.complex128)))
    assert torch.equal(wide.data, torch.from_numpy(truth()))


def test_fortran_order_and_big_endian(tmp_path):
    found = one(saved(tmp_path, np.asfortranarray(truth()).astype(">c8")))
    assert torch.equal(found.data, torch.from_numpy(truth()))


def test_the_stated_centre_goes_to_the_middle(tmp_path):
    kspace = truth()
    # 10 // 2 = 5 and 9 // 2 = 4 are the middle; here frequency zero is one and two samples before.
    path = saved(tmp_path, np.roll(kspace, (-1, -2), axis=(-2, -1)), centre={"ky": 4, "kx": 2})
    assert torch.equal(one(path).data, torch.from_numpy(kspace))


def test_partitions_become_slices(tmp_path):
    slices = truth((8, 2, 10, 9))
    slices[:, :, 3] = 0
    path = saved(
        tmp_path, np.roll(to_frequency(slices, 0), 1, axis=0), axes=["kz", "coil", "ky", "kx"], centre={"kz": 5}
    )
    np.testing.assert_allclose(one(path).data.numpy(), slices, atol=1e-5)
    assert one(path).tensor("mask")[:, 0].tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    missing = truth()
    missing[1, :, 4] = 0
    assert one(saved(tmp_path, missing, axes=["kz", "coil", "ky", "kx"])).physics == "mri-cartesian-3d"


def test_the_affine_places_the_image(tmp_path):
    affine = [[0, 0, 1.5, -9], [0, 2.0, 0, 3], [4, 0, 0, 1], [0, 0, 0, 1]]
    found = one(saved(tmp_path, truth(), affine=affine))
    np.testing.assert_array_equal(found.grid.affine, affine)
    assert "E-KSP-21" not in [event.settings.get("code") for event in found.history.events]
    assert found.history.orientation_known and not one(saved(tmp_path, truth())).history.orientation_known
    assert code_of(saved(tmp_path, truth(), affine=affine, spacing_mm=[4, 2, 2])) == "E-KSP-05"


def test_noise_samples_and_mask_of_an_npz(tmp_path):
    random = np.random.default_rng(4)
    mixing = np.array([[2, 0], [1 + 1j, 0.5]])
    noise = mixing @ (random.standard_normal((2, 4000)) + 1j * random.standard_normal((2, 4000)))
    mask = np.arange(9)[None] % 2 == 0
    path = tmp_path / "scan.npz"
    np.savez(path, kspace=truth(), noise=noise, mask=mask)
    described(path, {**PLAIN, "noise_std": None, "sampling": "mask"})
    found = one(path)
    assert found.noise_std == 1
    whitener = NoiseScan(noise.astype(np.complex64)).whitener()
    np.testing.assert_allclose(whitener @ noise @ (whitener @ noise).conj().T / 8000, np.eye(2), atol=1e-5)
    np.testing.assert_allclose(
        found.data.numpy(), np.einsum("cd,zdyx->zcyx", whitener, truth() * mask), rtol=1e-4, atol=1e-5
    )
    assert found.tensor("mask")[0].tolist() == [1, 0] * 4 + [1]
    np.savez_compressed(path, truth())
    described(path, PLAIN)
    assert torch.equal(one(path).data, torch.from_numpy(truth()))


def test_a_simulated_array_stays_simulated(tmp_path):
    assert one(saved(tmp_path, truth(), simulated=True)).simulated
    (row,) = KSpaceArrayReader().inspect(tmp_path / "scan.npy")
    assert row.description.endswith("noise 0.25 (stated) SIMULATED")


@pytest.mark.parametrize(
    "entries",
    [
        {"format": "other"},
        {"version": 2},
        {"version": True},
        {"axes": None},
        {"axes": ["ky", "ky", "coil", "kx"]},
        {"axes": ["z", "coil", "x", "y"]},
        {"axes": ["z", "kz", "ky", "kx"]},
        {"axes": ["z", "coil", "kx"]},
        {"spacing_mm": [4, 2]},
        {"spacing_mm": [4, 2, 0]},
        {"spacing_mm": None},
        {"affine": [[1, 2, 3]]},
        {"centre": {"ky": 10}},
        {"centre": {"ky": -1}},
        {"centre": {"z": 1}},
        {"sampling": "mask"},
        {"sampling": "some"},
        {"noise_std": 0},
        {"noise_std": "DOE^JOHN"},
        {"surplus": 1},
        {"simulated": "no"},
    ],
    ids=str,
)
def test_descriptions_that_are_invalid(entries, tmp_path):
    path = saved(tmp_path, truth(), **entries)
    assert code_of(path) == "E-KSP-05"
    (row,) = KSpaceArrayReader().inspect(path)
    assert [problem.code for problem in row.problems] == ["E-KSP-05"]
    assert "DOE" not in str(row)


def test_arrays_that_do_not_fit_their_description(tmp_path):
    assert code_of(saved(tmp_path, truth()[0])) == "E-KSP-08"
    assert code_of(saved(tmp_path, truth().real)) == "E-KSP-08"
    assert code_of(saved(tmp_path, truth()), max_bytes=1000) == "E-KSP-10"
    assert code_of(saved(tmp_path, truth()[:0])) == "E-GEO-20"
    path = saved(tmp_path, truth())
    for text in ("", "{", "[]", "null", '{"format": NaN}', "x" * (2**20 + 1), '{"a":' * 5000):
        path.with_suffix(".json").write_text(text)
        assert code_of(path) == "E-KSP-05", text[:20]
    for entries, said in (('{"a" 1}', "line 1 column"), ('{"surplus": 1}', "required|not permitted")):
        path.with_suffix(".json").write_text(entries)
        with pytest.raises(InputRefused, match=said):
            one(path)
    path.with_suffix(".json").unlink()
    assert code_of(path) == "E-KSP-04"
    assert KSpaceArrayReader().accepts(path)


def test_an_array_described_for_another_reader_is_not_taken(tmp_path):
    path = saved(tmp_path, truth(), format="sinogram")
    assert not KSpaceArrayReader().accepts(path)


def test_values(tmp_path):
    kspace = truth()
    kspace[2, 1, 3, 3] = np.nan
    assert code_of(saved(tmp_path, kspace)) == "E-KSP-09"
    assert code_of(saved(tmp_path, 0 * truth())) == "E-KSP-18"
    kspace = truth()
    kspace[0, 1, 2:5] = 0
    assert code_of(saved(tmp_path, kspace)) == "E-KSP-11"


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_pickles_are_never_loaded(tmp_path):
    path = tmp_path / "scan.npy"
    np.save(path, np.array([Harmful()], dtype=object), allow_pickle=True)
    described(path, PLAIN)
    assert code_of(path) == "E-KSP-02"
    path = tmp_path / "scan.npz"
    np.savez(path, kspace=np.array([Harmful()], dtype=object))
    assert code_of(path) == "E-KSP-02"


def test_archives_that_lie(tmp_path):
    path = tmp_path / "scan.npz"
    described(path, PLAIN)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<c8", "fortran_order": False, "shape": (10**6, 10**6)})
    for name, content in (("kspace.npy", head.getvalue() + b"0" * 100), ("kspace.npy", b"none")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)
        assert code_of(path) == "E-KSP-02"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kspace.npy", bytes(2**24))
    assert path.stat().st_size < 2**16
    assert code_of(path, max_bytes=2**20) == "E-KSP-10"
    np.savez(path, a=truth(), b=truth())
    assert code_of(path) == "E-KSP-08"
    np.savez(path, kspace=truth(), noise=truth()[0, 0])
    assert code_of(path) == "E-KSP-12"
    np.savez(path, kspace=truth(), mask=np.ones((3, 9)))
    described(path, {**PLAIN, "sampling": "mask"})
    assert code_of(path) == "E-KSP-08"


def test_truncated_and_missing_files(tmp_path):
    path = saved(tmp_path, truth())
    content = path.read_bytes()
    for length in (0, 5, 60, len(content) - 8):
        path.write_bytes(content[:length])
        assert code_of(path) == "E-KSP-02"
    assert code_of(tmp_path / "none.npy") == "E-KSP-01"


def test_bart_slices_partitions_and_single_planes(tmp_path):
    entries = {"spacing_mm": [4, 2, 1.5]}
    kspace = truth()
    stack = kspace.transpose(3, 2, 1, 0)
    path = write_bart(tmp_path / "k", stack.reshape(9, 10, 1, 2, *[1] * 9, 3), entries)
    assert torch.equal(one(path, BartReader()).data, torch.from_numpy(kspace))
    assert torch.equal(one(path.with_suffix(".hdr"), BartReader()).data, torch.from_numpy(kspace))
    path = write_bart(tmp_path / "k", stack[..., 0].reshape(9, 10, 1, 2), entries)
    assert torch.equal(one(path, BartReader()).data, torch.from_numpy(kspace[:1]))
    path = write_bart(tmp_path / "k", stack[:, :, 0, 0], entries)
    assert torch.equal(one(path, BartReader()).data, torch.from_numpy(kspace[:1, :1]))
    partitions = to_frequency(kspace, 0).transpose(3, 2, 0, 1)
    path = write_bart(tmp_path / "k", partitions, entries)
    np.testing.assert_allclose(one(path, BartReader()).data.numpy(), kspace, atol=1e-5)


def test_bart_refusals(tmp_path):
    entries = {"spacing_mm": [4, 2, 1.5]}
    stack = truth().transpose(3, 2, 1, 0)
    for shape, code in (((9, 10, 1, 1, 2, 3), "E-KSP-07"), ((9, 10, 3, 1, *[1] * 9, 2), "E-KSP-07")):
        assert code_of(write_bart(tmp_path / "k", stack.reshape(shape), entries), BartReader()) == code
    path = write_bart(tmp_path / "k", stack[..., 0].reshape(9, 10, 1, 2), entries)
    for text in ("", "# Dimensions\n", "# Dimensions\n9 ten\n", "# Dimensions\n9 0 1\n", "# Dimensions\n" + "1 " * 17):
        path.with_suffix(".hdr").write_text(text)
        assert code_of(path, BartReader()) == "E-KSP-05"
    path.with_suffix(".hdr").write_text("# Dimensions\n2147483648 2147483648 2147483648\n")
    assert code_of(path, BartReader()) == "E-KSP-02"
    assert code_of(write_bart(tmp_path / "k", stack[..., 0], {**entries, "axes": ["ky", "kx"]}), BartReader()) == (
        "E-KSP-05"
    )
    path.with_suffix(".json").unlink()
    assert code_of(path, BartReader()) == "E-KSP-04"
    path.unlink()
    assert code_of(path, BartReader()) == "E-KSP-01"
    text = tmp_path / "t.hdr"
    text.write_text(json.dumps({}))
    assert not BartReader().accepts(text)


@pytest.mark.skipif(shutil.which("bart") is None, reason="the program bart is not installed; it is an oracle only")
def test_bart_agrees(tmp_path):
    for words in (["phantom", "-x", "32", "-s", "4", "-k", "ksp"], ["fft", "-u", "-i", "3", "ksp", "img"]):
        subprocess.run(["bart", *words], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    described(tmp_path / "ksp.cfl", {"spacing_mm": [5, 1, 1]})
    found = one(tmp_path / "ksp.cfl", BartReader())
    image = np.fromfile(tmp_path / "img.cfl", "<c8").reshape(4, 1, 32, 32)[:, 0]
    centred = torch.fft.fftshift(
        torch.fft.ifft2(torch.fft.ifftshift(found.data[0], dim=(-2, -1)), norm="ortho"), dim=(-2, -1)
    )
    np.testing.assert_allclose(centred.numpy(), image, atol=1e-4 * np.abs(image).max())


@pytest.mark.parametrize(
    ("ky", "kx", "expected"),
    [
        (range(12), range(10), (12, 10)),
        (range(12), range(3, 7), (12, 4)),
        (range(4, 8), range(10), (4, 10)),
        (range(5, 12), range(4, 7), (2, 2)),
        ([6], [5], (1, 1)),
        ([5], [5], (0, 0)),
        (range(12), [5], (12, 1)),
    ],
)
def test_the_full_centre(ky, kx, expected):
    mask = np.zeros((12, 10), dtype=bool)
    mask[np.ix_(ky, kx)] = True
    assert full_centre(mask) == expected


def test_noise_of_too_few_samples_is_not_known(tmp_path):
    mask = np.ones((10, 9), dtype=bool)
    assert outer_noise(truth((3, 2, 10, 9)), mask) is None
    path = saved(tmp_path, truth(), noise_std=None)
    found = one(path)
    assert found.noise_std is None
    assert found.settings["noise"] == "not known"
