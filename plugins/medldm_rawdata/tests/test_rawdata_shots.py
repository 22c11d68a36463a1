"""Arrays of k-space along a trajectory: every unit gives the same places, and a wrong one is noticed."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import torch

import medldm
from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm.pipeline.recipe import load_recipe
from medldm_rawdata.array_reader import KSpaceArrayReader
from medldm_rawdata.bart_reader import BartReader
from medldm_rawdata.example_files import described, write_bart
from medldm_rawdata.shot_sampling import acceleration, are_spokes
from medldm_rawdata.tests.shot_scenes import NX, NY, NZ, SPACING, measured, scene, spirals, spokes

PLAIN = {
    "axes": ["z", "coil", "shot", "sample"],
    "spacing_mm": SPACING,
    "matrix": [NY, NX],
    "trajectory_unit": "cycles/voxel",
}


def saved(folder, kspace, trajectory, *, arrays=(), **description):
    path = folder / "scan.npz"
    np.savez(path, kspace=kspace, trajectory=trajectory, **dict(arrays))
    return described(path, {k: v for k, v in {**PLAIN, **description}.items() if v is not None})


def one(path):
    (found,) = KSpaceArrayReader().read(path, ReadRequest())
    return found


def refusal_of(path):
    with pytest.raises(InputRefused) as refusal:
        one(path)
    (row,) = KSpaceArrayReader().inspect(path)
    assert [problem.code for problem in row.problems] == [refusal.value.code]
    return refusal.value


UNITS = {
    "cycles/voxel": 1.0,
    "rad/voxel": 2 * np.pi,
    "cycles/fov": np.array([NY, NX]),
    "1/mm": 1 / 1.5,
    "1/m": 1000 / 1.5,
    "rad/mm": 2 * np.pi / 1.5,
    "rad/m": 2000 * np.pi / 1.5,
}


@pytest.mark.parametrize(("unit", "size"), UNITS.items())
def test_units(unit, size, tmp_path):
    cycles = spokes()
    kspace = measured(scene(), cycles)
    found = one(saved(tmp_path, kspace, cycles * size, trajectory_unit=unit))
    assert found.physics == "mri-nonuniform"
    assert found.axes == ("z", "coil", "shot", "sample")
    assert torch.equal(found.data, torch.from_numpy(kspace))
    np.testing.assert_allclose(found.tensor("trajectory").numpy(), cycles / 1.5, rtol=1e-12)
    assert bool((found.tensor("mask") == 1).all())
    assert found.grid.shape == (NZ, NY, NX)


def test_axes_in_any_order_and_one_plane(tmp_path):
    cycles, kspace = spokes(), measured(scene(), spokes())
    path = saved(tmp_path, kspace.transpose(3, 1, 0, 2), cycles, axes=["sample", "coil", "z", "shot"])
    assert torch.equal(one(path).data, torch.from_numpy(kspace))
    path = saved(tmp_path, kspace[1, 0], cycles.astype(np.float32), axes=["shot", "sample"])
    assert torch.equal(one(path).data, torch.from_numpy(kspace[1:]))


@pytest.mark.parametrize("make", [spokes, spirals])
def test_it_reconstructs_to_the_object(make, tmp_path):
    cycles = make()
    path = saved(tmp_path, measured(scene(), cycles), cycles / 1.5, trajectory_unit="1/mm")
    changes = ["classical={name: cg-sense, iterations: 100, lam: 0}"]
    recipe = load_recipe("mri-radial", changes).without_prior()
    result = medldm.reconstruct(path, recipe=recipe, device="cpu")
    image = np.abs(result.image.data.numpy())
    # The corners of k-space were not measured, so edges ring; blocks and their brightness are in place.
    truth = scene()
    assert np.linalg.norm(image - truth) < 0.25 * np.linalg.norm(truth)
    for other in (truth[:, ::-1], truth[..., ::-1], truth[:, ::-1, ::-1]):
        assert np.linalg.norm(image - other) > 0.8 * np.linalg.norm(truth)


def test_what_inspection_says(tmp_path):
    cycles = spokes(10)
    (row,) = KSpaceArrayReader().inspect(saved(tmp_path, measured(scene(), cycles), cycles))
    # Full sampling is pi / 2 n spokes, n between 16 and 20: 25 to 31.
    for fact in ("shot 10, sample 40", "acceleration 2.8", "(spokes)", "reaching 1 of", "(estimated)"):
        assert fact in row.description
    assert {problem.code for problem in row.problems} == {"E-KSP-20", "E-KSP-21"}
    assert row.shape == (NZ, NY, NX)


def test_acceleration_counts_shots_of_full_sampling():
    n = 64
    full = round(np.pi / 2 * n)
    for cycles, expected in (
        (spokes(full, 2 * n), 1.0),
        (spokes(full // 4, 2 * n), 4.0),
        (spirals(16, 2, 4 * n), 1.0),
        (spirals(8, 1, 4 * n), 4.0),
        (spokes(2 * full, 2 * n)[:, n:], 1.0),
    ):
        steps, mask = n * cycles, np.ones(cycles.shape[:2], dtype=bool)
        assert acceleration(steps, mask) == pytest.approx(expected, rel=0.1)
    assert are_spokes(n * spokes(), np.ones((40, 40), dtype=bool))
    assert not are_spokes(n * spirals(), np.ones((8, 200), dtype=bool))
    # Lines of a Cartesian grid are no spokes: of 64 lines 2 pass the centre within a step.
    grid = np.stack(np.meshgrid(np.arange(-32, 32), np.arange(-32, 32), indexing="ij"), axis=-1).astype(float)
    assert not are_spokes(grid, np.ones((64, 64), dtype=bool))


def test_zeros_and_a_mask_were_not_measured(tmp_path):
    cycles, kspace = spokes(), measured(scene(), spokes())
    kspace[:, :, 7] = 0
    cycles[7] = np.nan  # nobody knows where
    mask = np.arange(40) < 38
    path = saved(tmp_path, kspace, cycles, sampling="mask", arrays={"mask": mask[None]}, noise_std=0.001)
    found = one(path)
    expected = np.ones((40, 40))
    expected[7], expected[:, 38:] = 0, 0
    np.testing.assert_array_equal(found.tensor("mask").numpy(), expected)
    assert bool(torch.isfinite(found.tensor("trajectory")).all())
    assert not found.data[..., 38:].any()
    assert found.settings["shots"] == 39
    assert "E-KSP-24" in {problem.code for problem in found.history.problems}


def test_noise(tmp_path):
    random = np.random.default_rng(5)
    cycles = spokes()
    kspace = measured(scene() * 0, cycles, noise=0.25)
    assert one(saved(tmp_path, kspace, cycles)).noise_std == pytest.approx(0.25, rel=0.1)
    noise = 0.25 * (random.standard_normal((1, 4000)) + 1j * random.standard_normal((1, 4000)))
    found = one(saved(tmp_path, kspace, cycles, arrays={"noise": noise}))
    assert found.noise_std == 1
    assert float(found.data.real.std()) == pytest.approx(1, rel=0.1)
    assert one(saved(tmp_path, kspace, cycles, noise_std=0.3)).noise_std == 0.3


def test_the_noise_comes_from_where_the_trajectory_ends(tmp_path):
    cycles = spirals()
    kspace = measured(scene() * 0, cycles, noise=0.25)
    # Arms begin in the centre: what is strong there is no noise, wherever in the array it stands.
    kspace[..., :100] *= 100
    assert one(saved(tmp_path, kspace, cycles)).noise_std == pytest.approx(0.25, rel=0.2)


def test_a_silent_coil_is_left_out(tmp_path):
    kspace = np.concatenate([measured(scene(), spokes()), np.zeros((NZ, 1, 40, 40))], axis=1).astype(np.complex64)
    path = saved(tmp_path, kspace, spokes())
    assert one(path).size("coil") == 1
    assert "E-KSP-22" in {problem.code for problem in one(path).history.problems}


@pytest.mark.parametrize(
    ("said", "true"),
    [
        ("1/mm", "1/m"),
        ("1/mm", "rad/mm"),
        ("cycles/fov", "rad/voxel"),
        ("1/m", "cycles/voxel"),
        ("rad/m", "cycles/fov"),
    ],
)
def test_a_wrong_unit_is_noticed_and_the_right_one_named(said, true, tmp_path):
    cycles = spokes()
    refusal = refusal_of(saved(tmp_path, measured(scene(), cycles), cycles * UNITS[true], trajectory_unit=said))
    assert refusal.code == "E-KSP-40"
    ratio = float(np.max(UNITS[true] / UNITS[said]))
    assert f"{ratio:.3g} times" in refusal.what
    assert true in refusal.fix


def test_a_matrix_half_or_double_of_the_measured(tmp_path):
    cycles, kspace = spokes(), measured(scene(), spokes())
    # An image twice as fine as measured is one; one that is twice as coarse would fold.
    fine = saved(tmp_path, kspace, cycles / 1.5, trajectory_unit="1/mm", spacing_mm=[6, 0.75, 0.75], matrix=[40, 32])
    assert one(fine).settings["reach"] == pytest.approx(0.5, abs=0.01)
    coarse = saved(tmp_path, kspace, cycles / 1.5, trajectory_unit="1/mm", spacing_mm=[6, 3, 3], matrix=[10, 8])
    assert refusal_of(coarse).code == "E-KSP-40"


def test_samples_beyond_the_image_are_left_out(tmp_path):
    cycles = 1.1 * spokes()
    found = one(saved(tmp_path, measured(scene(), cycles), cycles))
    beyond = np.abs(cycles).max(axis=-1) > 0.51
    assert beyond.any()
    np.testing.assert_array_equal(found.tensor("mask").numpy(), ~beyond)
    assert float(found.tensor("trajectory").abs().max()) <= 0.51 / 1.5
    assert "E-KSP-43" in {problem.code for problem in found.history.problems}


def _far(cycles):
    return np.where(np.abs(cycles).max(axis=-1, keepdims=True) < 0.25, 0.25 * np.sign(cycles + 1e-9), cycles)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda k: np.where(np.arange(40)[:, None, None] == 3, np.nan, k), "E-KSP-41"),
        (lambda k: np.where(np.arange(40)[:, None, None] == 3, np.inf, k), "E-KSP-41"),
        (lambda k: np.full_like(k, 0.4), "E-KSP-41"),
        (lambda k: k * [0, 1], "E-KSP-41"),
        (_far, "E-KSP-41"),
        (lambda k: k[:, :-1], "E-KSP-08"),
        (lambda k: k.transpose(2, 0, 1), "E-KSP-08"),
        (lambda k: np.concatenate([k, k[..., :1]], axis=-1), "E-KSP-08"),
        (lambda k: k + 0j, "E-KSP-08"),
        (lambda k: (10 * k).astype(int), "E-KSP-08"),
        (lambda k: 0 * k, "E-KSP-41"),
    ],
)
def test_trajectories_that_cannot_be(change, code, tmp_path):
    assert refusal_of(saved(tmp_path, measured(scene(), spokes()), change(spokes()))).code == code


@pytest.mark.parametrize(
    "entries",
    [
        {"matrix": None},
        {"trajectory_unit": None},
        {"trajectory_unit": "1/inch"},
        {"matrix": [NY]},
        {"matrix": [0, NX]},
        {"matrix": [NY, 1e9]},
        {"axes": ["z", "coil", "ky", "kx"]},
        {"axes": ["z", "coil", "shot", "kx"]},
        {"axes": ["kz", "coil", "shot", "sample"]},
        {"axes": ["z", "coil", "ky", "kx"], "matrix": None, "trajectory_unit": None},
        {"centre": {"ky": 3}},
    ],
    ids=str,
)
def test_descriptions_that_are_invalid(entries, tmp_path):
    assert refusal_of(saved(tmp_path, measured(scene(), spokes()), spokes(), **entries)).code == "E-KSP-05"


def test_files_that_lack_something(tmp_path):
    kspace = measured(scene(), spokes())
    path = tmp_path / "scan.npz"
    np.savez(path, kspace=kspace)
    assert refusal_of(described(path, PLAIN)).code == "E-KSP-05"
    assert refusal_of(saved(tmp_path, np.where(np.arange(40) == 4, np.nan, kspace), spokes())).code == "E-KSP-09"
    assert refusal_of(saved(tmp_path, 0 * kspace, spokes())).code == "E-KSP-18"
    assert refusal_of(saved(tmp_path, kspace[0], spokes())).code == "E-KSP-08"
    partly = kspace.copy()
    partly[1, :, ::2] = 0
    assert refusal_of(saved(tmp_path, partly, spokes())).code == "E-KSP-11"
    mask = {"mask": np.ones((3, 40))}
    assert refusal_of(saved(tmp_path, kspace, spokes(), sampling="mask", arrays=mask)).code == "E-KSP-08"
    noise = {"noise": np.ones((2, 40)) + 0j}
    assert refusal_of(saved(tmp_path, kspace, spokes(), arrays=noise)).code == "E-KSP-12"


BART = {"spacing_mm": SPACING, "matrix": [NY, NX], "trajectory": "t"}


def bart(folder, kspace, cycles, description=BART):
    """Both pairs as BART has them: kx, ky, kz in steps of 1 / field of view, column-major."""
    places = np.concatenate([(cycles * [NY, NX])[..., ::-1], np.zeros((*cycles.shape[:2], 1))], -1)
    write_bart(folder / "t", places.transpose(2, 1, 0), {})
    stored = kspace.transpose(3, 2, 1, 0)
    nz, coils, shots, samples = kspace.shape
    return write_bart(folder / "k", stored.reshape(1, samples, shots, coils, *[1] * 9, nz), description)


def test_a_trajectory_of_bart_in_a_pair_of_its_own(tmp_path):
    cycles = spirals()
    kspace = np.concatenate([measured(scene(), cycles), 2 * measured(scene(), cycles)], axis=1)
    path = bart(tmp_path, kspace, cycles)
    (found,) = BartReader().read(path, ReadRequest())
    assert found.physics == "mri-nonuniform"
    assert torch.equal(found.data, torch.from_numpy(kspace))
    np.testing.assert_allclose(found.tensor("trajectory").numpy(), cycles / 1.5, atol=1e-7)
    names = {file.name for file in BartReader().files(path.with_suffix(".hdr"))}
    assert names == {"k.hdr", "k.cfl", "k.json", "t.hdr", "t.cfl"}


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"trajectory": "none"}, "E-KSP-01"),
        ({"trajectory": "../t"}, "E-KSP-05"),
        ({"matrix": None}, "E-KSP-05"),
        ({"trajectory_unit": "1/mm"}, "E-KSP-05"),
        ({"trajectory": None, "matrix": None}, "E-KSP-07"),
        ({"trajectory": "k"}, "E-KSP-07"),
        ({"matrix": [3 * NY, 3 * NX]}, "E-KSP-40"),
    ],
)
def test_what_is_wrong_with_a_trajectory_of_bart(tmp_path, entries, code):
    cycles = spokes()
    path = bart(tmp_path, measured(scene(), cycles), cycles, {k: v for k, v in {**BART, **entries}.items() if v})
    (row,) = BartReader().inspect(path)
    assert [problem.code for problem in row.problems] == [code]


def test_a_trajectory_of_bart_out_of_the_plane_is_refused(tmp_path):
    cycles = spokes()
    path = bart(tmp_path, measured(scene(), cycles), cycles)
    write_bart(tmp_path / "t", np.ones((3, *cycles.shape[1::-1])), {})
    (row,) = BartReader().inspect(path)
    assert [problem.code for problem in row.problems] == ["E-KSP-07"]


def test_spokes_of_bart_without_their_trajectory_are_no_volume(tmp_path):
    cycles = spokes()
    path = bart(tmp_path, measured(scene(), cycles)[:1], cycles, {"spacing_mm": SPACING})
    with pytest.raises(InputRefused) as refusal:
        BartReader().read(path, ReadRequest())
    assert refusal.value.code == "E-KSP-07" and "entry trajectory in k.json" in refusal.value.fix


@pytest.mark.skipif(shutil.which("bart") is None, reason="the program bart is not installed; it is an oracle only")
def test_bart_and_medldm_see_the_same_object_along_spokes(tmp_path):
    """What BART computes of its phantom along its spokes is what our operator computes of BART's image of it."""
    for words in (
        ["traj", "-r", "-G", "-x", "64", "-y", "48", "t"],
        ["phantom", "-x", "64", "image"],
        ["nufft", "t", "image", "k"],
    ):
        subprocess.run(["bart", *words], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    path = described(tmp_path / "k.cfl", {"spacing_mm": [5, 1, 1], "matrix": [64, 64], "trajectory": "t"})
    (found,) = BartReader().read(path, ReadRequest())
    image = np.fromfile(tmp_path / "image.cfl", "<c8").reshape(1, 64, 64)
    places = found.tensor("trajectory").numpy().reshape(-1, 2)
    at = np.arange(64) - 32
    along_y, along_x = (np.exp(-2j * np.pi * np.outer(places[:, axis], at)) for axis in (0, 1))
    expected = np.einsum("yx,sy,sx->s", image[0], along_y, along_x, optimize=True) / 64
    got = found.data.numpy().ravel()
    assert np.abs(got - expected).max() < 1e-2 * np.abs(expected).max()
