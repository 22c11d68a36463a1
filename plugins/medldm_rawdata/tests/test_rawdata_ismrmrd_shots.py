"""ISMRMRD files of spokes and spirals, made from a known object, give it back; what cannot be understood is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import medldm
from medldm.data import ReadRequest
from medldm.pipeline.recipe import load_recipe
from medldm_rawdata.example_files import ismrmrd_line, ismrmrd_shot, ismrmrd_xml, write_ismrmrd
from medldm_rawdata.ismrmrd_lines import NOISE
from medldm_rawdata.ismrmrd_reader import IsmrmrdReader
from medldm_rawdata.tests.ismrmrd_scans import FIRST, PLACE, X, Y, Z, code_of, one, path, problems_of
from medldm_rawdata.tests.shot_scenes import NX, NY, NZ, measured, scene, spirals, spokes

__all__ = ["path"]
D = 1.5
RECON = ((NX, NY, 1), (NX * D, NY * D, 6.0))
# The readout oversampled twice, and the number of spokes where the matrix has its y, as converters write it.
ENCODED = ((2 * NX, 40, 1), (2 * NX * D, NY * D, 6.0))
XML = ismrmrd_xml(ENCODED, RECON, trajectory="radial")


def shots_of(kspace, cycles, size=1.0, third=None, flags=(), **entries):
    """The lines of k-space (z, coil, shot, sample) along ``cycles`` (ky, kx) per voxel, which are times ``size``."""
    lines = []
    for k, s in np.ndindex(len(kspace), cycles.shape[0]):
        places = (cycles[s] * size)[:, ::-1]
        if third is not None:
            places = np.concatenate([places, third[s][:, None]], axis=1)
        counters = {"kspace_encode_step_1": s, "slice": k, "position": FIRST + 5 * k * Z, **PLACE, **entries}
        lines.append(ismrmrd_shot(kspace[k, :, s], places, flags, **counters))
    return lines


CONVENTIONS = {
    "cycles per voxel": 1.0,
    "radians per voxel": 2 * np.pi,
    "cycles per field of view": np.array([NY, NX]),
    "cycles per encoded field of view": 2 * np.array([NY, NX]),
    "1/m": 1000 / D,
    "rad/m": 2000 * np.pi / D,
}


@pytest.mark.parametrize(("words", "size"), CONVENTIONS.items())
def test_values_places_and_the_unit(words, size, path):
    cycles = spokes()
    kspace = measured(scene(), cycles)
    lines = shots_of(kspace, cycles, size)
    np.random.default_rng(0).shuffle(lines)
    found = one(write_ismrmrd(path, XML, lines))
    assert found.physics == "mri-nonuniform"
    assert torch.equal(found.data, torch.from_numpy(kspace))
    np.testing.assert_allclose(found.tensor("trajectory").numpy(), cycles / D, rtol=1e-6, atol=1e-9)
    assert found.grid.shape == (NZ, NY, NX)
    np.testing.assert_allclose(found.grid.world((1, NY // 2, NX // 2)), FIRST + 5 * Z, atol=1e-5)
    step = found.grid.world((1, NY // 2 + 1, NX // 2 + 1)) - found.grid.world((0, NY // 2, NX // 2))
    np.testing.assert_allclose(step, 5 * Z + D * Y + D * X, atol=1e-5)
    (row,) = IsmrmrdReader().inspect(path)
    for fact in ("shot 40, sample 40", "(spokes)", "reaching 1 of", "(estimated)"):
        assert fact in row.description
    (note,) = (problem for problem in row.problems if problem.code == "E-KSP-42")
    assert f"taken to be {words}:" in note.sentence


def test_an_image_that_the_scanner_interpolates(path):
    cycles = spokes()
    fine = ((2 * NX, 2 * NY, 1), (NX * D, NY * D, 6.0))
    header = ismrmrd_xml(ENCODED, fine, trajectory="goldenangle")
    found = one(write_ismrmrd(path, header, shots_of(measured(scene(), cycles), cycles)))
    assert found.grid.shape == (NZ, NY, NX)
    np.testing.assert_allclose(found.tensor("trajectory").numpy(), cycles / D, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("trajectory", "make"), [("radial", spokes), ("spiral", spirals)])
def test_it_reconstructs_to_the_object(trajectory, make, path):
    cycles = make()
    header = ismrmrd_xml(ENCODED, RECON, trajectory=trajectory)
    draw = 0.001 * np.random.default_rng(3).standard_normal((2, 1, 2000))
    noise = ismrmrd_line(draw[0] + 1j * draw[1], [NOISE])
    write_ismrmrd(path, header, [noise, *shots_of(measured(scene(), cycles), cycles)])
    changes = ["classical={name: cg-sense, iterations: 100, lam: 0}"]
    result = medldm.reconstruct(path, recipe=load_recipe("mri-radial", changes).without_prior(), device="cpu")
    image, truth = np.abs(result.image.data.numpy()) * 0.001, scene()
    assert np.linalg.norm(image - truth) < 0.25 * np.linalg.norm(truth)
    for other in (truth[:, ::-1], truth[..., ::-1], truth[:, ::-1, ::-1]):
        assert np.linalg.norm(image - other) > 0.8 * np.linalg.norm(truth)


def test_discarded_samples_are_not_measured(path):
    cycles = spokes()
    kspace = measured(scene(), cycles)
    broken, places = kspace.copy(), cycles.copy()
    broken[..., :3], broken[..., 38:] = np.nan, 1e6
    places[:, :3], places[:, 38:] = np.nan, 9
    found = one(write_ismrmrd(path, XML, shots_of(broken, places, discard_pre=3, discard_post=2)))
    mask = np.zeros((40, 40))
    mask[:, 3:38] = 1
    np.testing.assert_array_equal(found.tensor("mask").numpy(), mask)
    np.testing.assert_array_equal(found.data.numpy(), kspace * mask.astype(np.float32))


def test_averages_are_averaged_where_they_repeat(path):
    cycles = spokes()
    a, b = measured(scene(), cycles), measured(scene(), cycles, seed=2)
    found = one(write_ismrmrd(path, XML, [*shots_of(a, cycles), *shots_of(b, cycles, average=1)]))
    np.testing.assert_allclose(found.data.numpy(), (a + b) / 2, atol=1e-6)
    assert found.settings["averages"] == 2
    # Golden angles that go on are other shots.
    on = spokes(80)[40:]
    found = one(write_ismrmrd(path, XML, [*shots_of(a, cycles), *shots_of(b, on, average=1)]))
    np.testing.assert_array_equal(found.data.numpy(), np.concatenate([a, b], axis=2))
    np.testing.assert_allclose(found.tensor("trajectory").numpy(), spokes(80) / D, rtol=1e-6, atol=1e-9)
    assert found.settings["averages"] == 1
    write_ismrmrd(path, XML, [*shots_of(a, cycles), *shots_of(b, cycles)])
    assert code_of(path) == "E-KSP-13"


def test_repetitions_are_scans_of_their_own(path):
    cycles = spokes(80)
    kspace = measured(scene(), cycles)
    lines = [*shots_of(kspace[:, :, :40], cycles[:40]), *shots_of(kspace[:, :, 40:], cycles[40:], repetition=1)]
    write_ismrmrd(path, XML, lines)
    second = one(path, series="repetition 1")
    assert torch.equal(second.data, torch.from_numpy(kspace[:, :, 40:]))
    np.testing.assert_allclose(second.tensor("trajectory").numpy(), cycles[40:] / D, rtol=1e-6, atol=1e-9)


def test_slices_along_different_trajectories_are_scans_of_their_own(path):
    cycles = spokes(80)
    parts = [cycles[:40], cycles[40:]]
    lines = []
    for k, part in enumerate(parts):
        kspace = measured(scene()[k : k + 1], part)
        lines += shots_of(kspace, part, slice=k, position=FIRST + 5 * k * Z)
    write_ismrmrd(path, XML, lines)
    rows = IsmrmrdReader().inspect(path)
    assert [row.description.partition(";")[0] for row in rows] == ["slice 0", "slice 1"]
    assert "E-KSP-44" in problems_of(path)
    assert len(IsmrmrdReader().read(path, ReadRequest())) == 2
    second = one(path, series="#2")
    assert second.grid.shape == (1, NY, NX)
    np.testing.assert_allclose(second.grid.world((0, NY // 2, NX // 2)), FIRST + 5 * Z, atol=1e-5)
    np.testing.assert_allclose(second.tensor("trajectory").numpy(), parts[1] / D, rtol=1e-6, atol=1e-9)


def test_slices_are_ordered_by_position(path):
    cycles = spokes()
    kspace = measured(scene(), cycles)
    lines = [
        line for k in range(NZ) for line in shots_of(kspace[k : k + 1], cycles, slice=1 - k, position=FIRST + 5 * k * Z)
    ]
    assert torch.equal(one(write_ismrmrd(path, XML, lines)).data, torch.from_numpy(kspace))


def test_a_third_column(path):
    cycles = spirals()
    kspace = measured(scene(), cycles)
    weights = np.linalg.norm(cycles, axis=-1)
    header = ismrmrd_xml(ENCODED, RECON, trajectory="spiral")
    for third in (weights, 0 * weights, 300 * weights):
        found = one(write_ismrmrd(path, header, shots_of(kspace, cycles, third=third)))
        np.testing.assert_allclose(found.tensor("trajectory").numpy(), cycles / D, rtol=1e-6, atol=1e-9)
        told = " ".join(problem.sentence for problem in found.history.problems)
        assert ("density weight" in told) == bool(third.any())
    write_ismrmrd(path, header, shots_of(kspace, cycles, third=weights - weights.mean()))
    assert code_of(path) == "E-KSP-07"


def test_noise_scans_whiten_and_silent_coils_go(path):
    random = np.random.default_rng(7)
    mixing = np.array([[2, 0, 0], [1 + 1j, 0.5, 0], [0, 0, 0]])
    draw = mixing @ (random.standard_normal((3, 9000)) + 1j * random.standard_normal((3, 9000)))
    cycles = spokes()
    kspace = draw[:, 5800:].reshape(3, NZ, 40, 40).transpose(1, 0, 2, 3) / 2
    lines = [ismrmrd_line(draw[:, :5800], [NOISE], sample_time_us=2.0), *shots_of(kspace, cycles, sample_time_us=8.0)]
    found = one(write_ismrmrd(path, XML, lines))
    assert found.noise_std == 1
    assert found.settings["noise"] == "noise scan"
    white = found.data.permute(1, 0, 2, 3).reshape(2, -1).numpy()
    np.testing.assert_allclose(white @ white.conj().T / (2 * white.shape[1]), np.eye(2), atol=0.1)
    assert {"E-KSP-22"} <= problems_of(path)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda k: 3 * k, "E-KSP-40"),
        (lambda k: k / 3, "E-KSP-40"),
        (lambda k: np.where(np.arange(40)[:, None, None] == 3, np.nan, k), "E-KSP-41"),
        (lambda k: np.where(np.arange(40)[:, None, None] == 3, np.inf, k), "E-KSP-41"),
        (lambda k: 0 * k, "E-KSP-41"),
        (lambda k: k * [0, 1], "E-KSP-41"),
    ],
)
def test_trajectories_that_cannot_be(change, code, path):
    write_ismrmrd(path, XML, shots_of(measured(scene(), spokes()), change(spokes())))
    assert code_of(path) == code


def test_several_conventions_that_fit(path):
    # A field of view of 0.9 m: a step of 1 / field of view is nearly 1/m.
    d = 900 / NX
    size = ((NX, NX, 1), (NX * d, NX * d, 6.0))
    header = ismrmrd_xml(size, size, trajectory="radial")
    lines = shots_of(measured(scene()[:, :NX], spokes()), spokes(), NX)
    assert code_of(write_ismrmrd(path, header, lines)) == "E-KSP-40"
    # Twice the samples over the same field of view: oversampling, or a finer image?
    header = ismrmrd_xml(((2 * NX, NY, 1), RECON[1]), RECON, trajectory="radial")
    assert code_of(write_ismrmrd(path, header, shots_of(measured(scene(), spokes()), spokes()))) == "E-KSP-06"


def test_what_is_refused(path):
    cycles, kspace = spokes(), measured(scene(), spokes())
    lines = shots_of(kspace, cycles)
    thick = ismrmrd_xml(((*ENCODED[0][:2], 8), ENCODED[1]), RECON, trajectory="radial")
    assert code_of(write_ismrmrd(path, thick, lines)) == "E-KSP-07"
    write_ismrmrd(path, XML, shots_of(kspace, cycles, kspace_encode_step_2=1))
    assert code_of(path) == "E-KSP-07"
    write_ismrmrd(path, XML, [*lines, *shots_of(kspace[..., :30], cycles[:, :30], average=1)])
    assert code_of(path) == "E-KSP-13"
    write_ismrmrd(path, XML, [*lines, *shots_of(kspace, cycles, third=cycles[..., 0], average=1)])
    assert code_of(path) == "E-KSP-41"
    head, values, places = lines[0]
    write_ismrmrd(path, XML, [(head, values, places[:-2]), *lines[1:]])
    assert code_of(path) == "E-KSP-02"
    write_ismrmrd(path, XML, shots_of(np.concatenate([kspace, kspace], axis=1), cycles) + lines)
    assert code_of(path) == "E-KSP-12"
    write_ismrmrd(path, XML, shots_of(np.where(np.arange(40) == 5, np.nan, kspace), cycles))
    assert code_of(path) == "E-KSP-09"
    write_ismrmrd(path, XML, shots_of(kspace, cycles, discard_pre=40))
    assert code_of(path) == "E-KSP-18"
    assert code_of(write_ismrmrd(path, XML, lines), max_bytes=10**5) == "E-KSP-10"


def test_the_formats_own_library_agrees(path):
    ismrmrd = pytest.importorskip("ismrmrd", reason="the package ismrmrd is not installed; it is an oracle only")
    cycles = spirals()
    kspace = measured(scene(), cycles)
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(ismrmrd_xml(ENCODED, RECON, trajectory="spiral").encode())
    for s, k in np.ndindex(cycles.shape[0], NZ):
        line = ismrmrd.Acquisition.from_array(kspace[k, :, s], trajectory=cycles[s, :, ::-1].astype(np.float32))
        line.idx.kspace_encode_step_1, line.idx.slice = s, k
        line.position[:] = FIRST + 5 * k * Z
        line.read_dir[:], line.phase_dir[:], line.slice_dir[:] = X, Y, Z
        dataset.append_acquisition(line)
    dataset.close()
    found = one(path)
    assert torch.equal(found.data, torch.from_numpy(kspace))
    np.testing.assert_allclose(found.tensor("trajectory").numpy(), cycles / D, rtol=1e-6, atol=1e-9)
