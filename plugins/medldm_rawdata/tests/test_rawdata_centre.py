"""k-space in the order of an FFT, whose frequency zero is the first sample, is doubted where nothing says so."""

from __future__ import annotations

import numpy as np
import pytest

from medldm.data import ReadRequest
from medldm_rawdata.array_reader import KSpaceArrayReader
from medldm_rawdata.bart_reader import BartReader
from medldm_rawdata.example_files import described, write_bart
from medldm_rawdata.kspace_transform import to_frequency

AXES = {"ky": -2, "kx": -1}
PLAIN = {"axes": ["z", "coil", "ky", "kx"], "spacing_mm": [4, 2, 2]}


def kspace(nz=2, ny=24, nx=32):
    """Of a disc off centre, seen by three coils, with noise."""
    y, x = np.mgrid[:ny, :nx]
    disc = (y - 10) ** 2 + (x - 18) ** 2 < 40
    maps = np.stack([np.exp(1j * (c + x / 12)) * (1 + np.cos(y / 20 + c)) for c in range(3)])
    random = np.random.default_rng(3)
    image = np.broadcast_to(disc * maps, (nz, 3, ny, nx))
    measured = to_frequency(to_frequency(image.astype(np.complex64), -2), -1)
    noise = random.standard_normal(measured.shape) + 1j * random.standard_normal(measured.shape)
    return (measured + 0.02 * noise).astype(np.complex64)


def codes(folder, array, **more):
    path = folder / "scan.npy"
    np.save(path, array)
    (row,) = KSpaceArrayReader().inspect(described(path, PLAIN | more))
    return [problem.code for problem in row.problems if problem.code == "E-KSP-28"], row.problems


@pytest.mark.parametrize("names", [("ky",), ("kx",), ("ky", "kx")])
def test_the_order_of_an_fft_is_doubted(tmp_path, names):
    shifted = np.fft.ifftshift(kspace(), axes=[AXES[name] for name in names])
    found, problems = codes(tmp_path, shifted)
    assert found
    (told,) = [problem for problem in problems if problem.code == "E-KSP-28"]
    assert f'"centre": {{{", ".join(f"{chr(34)}{name}{chr(34)}: 0" for name in names)}}}' in told.remedy
    assert not codes(tmp_path, shifted, centre=dict.fromkeys(names, 0))[0]


def test_undersampled_lines_are_doubted_too(tmp_path):
    sampled = kspace()
    sampled[:, :, 1::2] = 0
    assert not codes(tmp_path, sampled)[0]
    assert codes(tmp_path, np.fft.ifftshift(sampled, axes=(-2, -1)))[0]


def test_what_is_centred_or_mere_noise_is_not_doubted(tmp_path):
    assert not codes(tmp_path, kspace())[0]
    assert not codes(tmp_path, np.roll(kspace(), (2, -2), (-2, -1)))[0]
    random = np.random.default_rng(0)
    for _ in range(5):
        noise = random.standard_normal((2, 3, 24, 32)) + 1j * random.standard_normal((2, 3, 24, 32))
        assert not codes(tmp_path, noise)[0]


def test_a_centre_that_is_stated_wrongly_is_doubted(tmp_path):
    assert codes(tmp_path, np.fft.ifftshift(kspace(), axes=-1), centre={"kx": 16})[0]
    assert not codes(tmp_path, np.roll(kspace(), 5, -1), centre={"kx": 21})[0]


def test_partitions_and_pairs_of_bart_are_looked_at(tmp_path):
    volume = np.moveaxis(to_frequency(np.moveaxis(kspace(16), 0, -1), -1), -1, 0)
    assert not codes(tmp_path, volume, axes=["kz", "coil", "ky", "kx"])[0]
    assert codes(tmp_path, np.fft.ifftshift(volume, axes=0), axes=["kz", "coil", "ky", "kx"])[0]
    plane = np.fft.ifftshift(kspace(1)[0], axes=(-2, -1)).transpose(2, 1, 0)
    path = write_bart(tmp_path / "pair", plane[:, :, None], {"spacing_mm": [4, 2, 2]})
    (found,) = BartReader().read(path, ReadRequest())
    assert "E-KSP-28" in {problem.code for problem in found.history.problems}


def test_k_space_without_its_centre_is_warned_of(tmp_path):
    sampled = kspace()
    sampled[:, :, 0::2] = 0
    _, problems = codes(tmp_path, sampled)
    assert "E-KSP-30" in {problem.code for problem in problems}
    sampled = kspace()
    sampled[:, :, 1::2] = 0
    _, problems = codes(tmp_path, sampled)
    assert "E-KSP-30" not in {problem.code for problem in problems}
