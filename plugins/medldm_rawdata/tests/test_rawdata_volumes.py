"""Volumes with two phase encodings, from lines and arrays: slices where kz is sampled in full, else the volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import medldm
from medldm.data import Grid, Volume
from medldm.errors import InputRefused, UsageError
from medldm.pipeline.recipe import load_recipe
from medldm_rawdata.array_reader import KSpaceArrayReader
from medldm_rawdata.bart_reader import BartReader
from medldm_rawdata.example_files import described, ismrmrd_line, ismrmrd_xml, write_bart, write_ismrmrd
from medldm_rawdata.ismrmrd_lines import NOISE
from medldm_rawdata.ismrmrd_reader import IsmrmrdReader
from medldm_rawdata.kspace_noise import NoiseScan
from medldm_rawdata.kspace_transform import to_image
from medldm_rawdata.tests.ismrmrd_scans import PLACE, X, Y, Z, code_of, one, path, problems_of

__all__ = ["path"]

NC, NZ, NY, NX = 3, 8, 12, 10
MIDDLE = np.array([3.0, -20.0, 7.0])
SPACE = ((NX, NY, NZ), (NX * 1.5, NY * 2.0, NZ * 1.25))
XML = ismrmrd_xml(SPACE, SPACE, centre=NY // 2, partition=NZ // 2)


def truth(nz=NZ, nx=NX, seed=1) -> np.ndarray:
    """k-space (coil, kz, ky, kx)."""
    random = np.random.default_rng(seed)
    shape = (NC, nz, NY, nx)
    return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(np.complex64)


def drawn(nz=NZ, seed=2) -> np.ndarray:
    """Half of the readouts (kz, ky), and all of the middle 4 x 4."""
    mask = np.random.default_rng(seed).random((nz, NY)) < 0.5
    mask[nz // 2 - 2 : nz // 2 + 2, NY // 2 - 2 : NY // 2 + 2] = True
    return mask


def lines_of(kspace, readouts=None, flags=(), **entries):
    """The readouts of a volume in no order; ``entries`` go before what their heads would say."""
    nz, ny = kspace.shape[1:3]
    lines = [
        ismrmrd_line(
            kspace[:, kz, ky],
            flags,
            **{"kspace_encode_step_1": ky, "kspace_encode_step_2": kz, "position": MIDDLE, **PLACE, **entries},
        )
        for kz in range(nz)
        for ky in range(ny)
        if readouts is None or readouts[kz, ky]
    ]
    np.random.default_rng(0).shuffle(lines)
    return lines


def images_of(volume) -> np.ndarray:
    """Coil images (coil, z, y, x) of k-space that lacks nothing."""
    return to_image(to_image(to_image(volume, -3), -2), -1)


def test_an_undersampled_volume_is_kept_as_one(path):
    readouts = drawn()
    found = one(write_ismrmrd(path, XML, lines_of(truth(), readouts)))
    assert (found.physics, found.axes) == ("mri-cartesian-3d", ("coil", "kz", "ky", "kx"))
    assert torch.equal(found.data, torch.from_numpy(truth() * readouts[..., None]))
    assert torch.equal(found.tensor("mask"), torch.from_numpy(readouts[..., None].astype(np.float32)))
    assert found.settings["acceleration"] == pytest.approx(readouts.size / readouts.sum(), abs=1e-4)
    assert found.grid.spacing == pytest.approx((1.25, 2, 1.5))
    # The slab's position is its middle; each index steps along its direction.
    np.testing.assert_allclose(found.grid.world((NZ // 2, NY // 2, NX // 2)), MIDDLE, atol=1e-5)
    step = found.grid.world((NZ // 2 + 1, NY // 2 + 1, NX // 2 + 1)) - MIDDLE
    np.testing.assert_allclose(step, 1.25 * Z + 2 * Y + 1.5 * X, atol=1e-5)
    (row,) = IsmrmrdReader().inspect(path)
    assert row.shape == (NZ, NY, NX)
    ky, kx = found.settings["full_centre"]
    for fact in ("mri-cartesian-3d: coil 3, kz 8", f"full centre {ky} x {kx} (kz x ky)", "(estimated)"):
        assert fact in row.description


def test_a_volume_that_lacks_nothing_along_kz_is_slices(path):
    readouts = np.broadcast_to(drawn()[NZ // 2], (NZ, NY))
    found = one(write_ismrmrd(path, XML, lines_of(truth(), readouts)))
    assert (found.physics, found.data.shape) == ("mri-cartesian", (NZ, NC, NY, NX))
    expected = to_image(truth() * readouts[..., None], 1).transpose(1, 0, 2, 3)
    np.testing.assert_allclose(found.data.numpy(), expected, atol=1e-5)
    assert torch.equal(found.tensor("mask")[:, 0], torch.from_numpy(readouts[0].astype(np.float32)))
    np.testing.assert_allclose(found.grid.world((NZ // 2, NY // 2, NX // 2)), MIDDLE, atol=1e-5)
    assert found.grid.spacing == pytest.approx((1.25, 2, 1.5))


@pytest.mark.parametrize("nz", [8, 9])
def test_oversampling_of_slab_and_readout(nz, path):
    encoded = ((2 * NX, NY, nz), (2 * NX * 1.5, NY * 2.0, nz * 1.25))
    xml = ismrmrd_xml(encoded, ((NX, NY, 6), (NX * 1.5, NY * 2.0, 6 * 1.25)), centre=NY // 2, partition=nz // 2)
    wide, readouts = truth(nz, 2 * NX), drawn(nz)
    found = one(write_ismrmrd(path, xml, lines_of(wide)))
    assert found.grid.shape == (6, NY, NX)
    assert problems_of(path) == {"E-KSP-20"}
    columns = slice(NX // 2, NX // 2 + NX)
    expected = images_of(wide)[:, nz // 2 - 3 : nz // 2 + 3, :, columns].transpose(1, 0, 2, 3)
    np.testing.assert_allclose(to_image(to_image(found.data.numpy(), -1), -2), expected, atol=1e-5)
    np.testing.assert_allclose(found.grid.world((3, NY // 2, NX // 2)), MIDDLE, atol=1e-5)
    # Undersampled, the slab keeps its slices, and the readout loses its oversampling all the same.
    found = one(write_ismrmrd(path, xml, lines_of(wide, readouts)))
    assert found.grid.shape == (nz, NY, NX)
    assert problems_of(path) == {"E-KSP-20", "E-KSP-25"}
    expected = images_of(wide * readouts[..., None])[..., columns]
    np.testing.assert_allclose(images_of(found.data.numpy()), expected, atol=1e-5)
    np.testing.assert_allclose(found.grid.world((nz // 2, NY // 2, NX // 2)), MIDDLE, atol=1e-5)


def test_partial_fourier_along_both_directions(path):
    # Steps are counted from the first one measured: frequency zero is line 4 and partition 2.
    lines = lines_of(truth()[:, 2:, 2:])
    found = one(write_ismrmrd(path, ismrmrd_xml(SPACE, SPACE, centre=4, partition=2), lines))
    expected = truth()
    expected[:, :2], expected[:, :, :2] = 0, 0
    assert torch.equal(found.data, torch.from_numpy(expected))
    assert found.tensor("mask")[..., 0].sum() == (NZ - 2) * (NY - 2)
    write_ismrmrd(path, ismrmrd_xml(SPACE, SPACE, centre=4, partition=1), lines)
    assert code_of(path) == "E-KSP-13"
    # Where nothing is stated frequency zero is in the middle.
    write_ismrmrd(path, ismrmrd_xml(SPACE, SPACE), lines_of(truth(), drawn()))
    assert torch.equal(one(path).data, torch.from_numpy(truth() * drawn()[..., None]))


def test_slabs_are_scans_of_their_own(path):
    a, b = truth(seed=1), truth(seed=5)
    lines = [*lines_of(a, drawn()), *lines_of(b, drawn(), slice=1, position=MIDDLE + 20 * Z)]
    write_ismrmrd(path, XML, lines)
    assert len(IsmrmrdReader().inspect(path)) == 2
    found = one(path, series="slice 1")
    assert torch.equal(found.data, torch.from_numpy(b * drawn()[..., None]))
    np.testing.assert_allclose(found.grid.world((NZ // 2, NY // 2, NX // 2)), MIDDLE + 20 * Z, atol=1e-5)


def test_averages_and_lines_that_come_twice(path):
    a, b, readouts = truth(seed=1), truth(seed=2), drawn()
    write_ismrmrd(path, XML, [*lines_of(a, readouts), *lines_of(b, readouts, average=1)])
    np.testing.assert_allclose(one(path).data.numpy(), (a + b) / 2 * readouts[..., None], atol=1e-6)
    assert one(path).settings["averages"] == 2
    write_ismrmrd(path, XML, [*lines_of(a, readouts), *lines_of(b, readouts)])
    assert code_of(path) == "E-KSP-13"
    half = readouts.copy()
    half[:3] = False
    write_ismrmrd(path, XML, [*lines_of(a, readouts), *lines_of(b, half, average=1)])
    assert code_of(path) == "E-KSP-14"


def test_noise_scan_silent_and_mixed_coils(path):
    random, readouts = np.random.default_rng(3), drawn()
    noise = random.standard_normal((NC, 400)) + 1j * random.standard_normal((NC, 400))
    noise[1] += 0.5 * noise[0]
    kspace = truth()
    scan = [ismrmrd_line(noise, [NOISE], sample_time_us=2.0)]
    write_ismrmrd(path, XML, [*scan, *lines_of(kspace, readouts, sample_time_us=8.0)])
    found = one(path)
    assert found.noise_std == 1
    whitener = NoiseScan(noise.astype(np.complex64), 1 / 4).whitener()
    expected = np.einsum("cd,dzyx->czyx", whitener, kspace * readouts[..., None])
    np.testing.assert_allclose(found.data.numpy(), expected, rtol=1e-4, atol=1e-5)
    silent, quiet = kspace.copy(), noise.copy()
    silent[1], quiet[1] = 0, 0
    write_ismrmrd(path, XML, [ismrmrd_line(quiet, [NOISE]), *lines_of(silent, readouts)])
    assert one(path).data.shape == (2, NZ, NY, NX)
    assert problems_of(path) == {"E-KSP-22"}
    mixed = kspace.copy()
    mixed[1, 3:5] = 0
    write_ismrmrd(path, XML, lines_of(mixed, readouts))
    with pytest.raises(InputRefused, match=r"E-KSP-11.*Coil 1 of scan.h5"):
        one(path)
    kspace[0, 4, 6, 2] = np.nan
    write_ismrmrd(path, XML, lines_of(kspace, readouts))
    assert code_of(path) == "E-KSP-09"


def test_the_noise_is_estimated_far_from_the_centre(path):
    # An object whose power falls with frequency, in noise of 0.02 per real component.
    random, (nz, ny, nx) = np.random.default_rng(1), (16, 24, 20)
    along = [np.abs(np.arange(n) - n // 2) for n in (nz, ny, nx)]
    envelope = np.exp(-sum(np.meshgrid(*along, indexing="ij")))
    shape = (NC, nz, ny, nx)
    noise = 0.02 * (random.standard_normal(shape) + 1j * random.standard_normal(shape))
    readouts = random.random((nz, ny)) < 0.5
    space = ((nx, ny, nz), (nx * 1.0, ny * 1.0, nz * 1.0))
    write_ismrmrd(path, ismrmrd_xml(space, space), lines_of(100 * envelope + noise, readouts))
    assert one(path).noise_std == pytest.approx(0.02, rel=0.05)


def test_partial_echoes(path):
    encoded = ((2 * NX, NY, NZ), (2 * NX * 1.5, NY * 2.0, NZ * 1.25))
    xml, wide = ismrmrd_xml(encoded, SPACE), truth(nx=2 * NX)
    write_ismrmrd(path, xml, lines_of(wide[..., 4:], center_sample=NX - 4))
    found = one(path)
    wide[..., :4] = 0
    np.testing.assert_allclose(found.data.numpy(), to_image(wide, 1).transpose(1, 0, 2, 3), atol=1e-5)
    assert found.tensor("mask")[0].tolist() == [0] * 4 + [1] * 16
    assert "E-KSP-25" in problems_of(path)
    # A volume is taken apart along its readouts, which a partial echo does not allow.
    write_ismrmrd(path, xml, lines_of(wide[..., 4:], drawn(), center_sample=NX - 4))
    assert code_of(path) == "E-KSP-07"


def test_headers_and_lines_that_disagree_on_partitions(path):
    write_ismrmrd(path, XML, lines_of(truth()[:, :1]))
    assert code_of(path) == "E-KSP-07"
    write_ismrmrd(path, XML, lines_of(np.concatenate([truth()] * 2, axis=1)))
    assert code_of(path) == "E-KSP-13"
    huge = ((60000, 60000, 60000), (300.0, 300.0, 300.0))
    write_ismrmrd(path, ismrmrd_xml(huge, huge), lines_of(truth()))
    assert code_of(path) == "E-KSP-10"


def array_of(folder, values, mask=None, **entries):
    """The one acquisition of an array (kz, coil, ky, kx)."""
    file = folder / ("scan.npy" if mask is None else "scan.npz")
    np.save(file, values) if mask is None else np.savez(file, kspace=values, mask=mask)
    axes = ["kz", "coil", "ky", "kx"]
    sampling = {} if mask is None else {"sampling": "mask"}
    described(file, {"axes": axes, "spacing_mm": [1.25, 2, 1.5], "noise_std": 0.5, **sampling, **entries})
    (found,) = KSpaceArrayReader().read(file, medldm.data.ReadRequest())
    return found


def test_arrays(tmp_path):
    kspace, readouts = truth(), drawn()
    stored = (kspace * readouts[..., None]).transpose(1, 0, 2, 3)
    found = array_of(tmp_path, np.roll(stored, (1, -1, 2), axis=(0, 2, 3)), centre={"kz": 5, "ky": 5, "kx": 7})
    assert (found.physics, found.noise_std) == ("mri-cartesian-3d", 0.5)
    assert torch.equal(found.data, torch.from_numpy(kspace * readouts[..., None]))
    assert torch.equal(found.tensor("mask")[..., 0], torch.from_numpy(readouts.astype(np.float32)))
    # A zero within a readout that was measured is a measured zero.
    stored[NZ // 2, :, NY // 2, 3] = 0
    assert array_of(tmp_path, stored).tensor("mask").sum() == readouts.sum()
    path = write_bart(tmp_path / "k", stored.transpose(3, 2, 0, 1), {"spacing_mm": [1.25, 2, 1.5]})
    (bart,) = BartReader().read(path, medldm.data.ReadRequest())
    assert torch.equal(bart.data, torch.from_numpy(stored.transpose(1, 0, 2, 3)))
    stored[..., :3] = 0
    with pytest.raises(InputRefused, match="E-KSP-07"):
        array_of(tmp_path, stored)


@pytest.mark.parametrize("form", ["kz, ky, kx", "kz, ky, 1", "ky, 1"])
def test_masks_of_arrays(form, tmp_path):
    kspace, readouts = truth(), drawn() if "kz" in form else np.broadcast_to(drawn()[0], (NZ, NY))
    mask = np.broadcast_to(readouts[..., None], (NZ, NY, NX))
    stated = {"kz, ky, kx": mask, "kz, ky, 1": mask[..., :1], "ky, 1": mask[0, :, :1]}[form]
    stored = np.roll(kspace.transpose(1, 0, 2, 3), 1, axis=0)
    turned = np.roll(stated, 1, axis=0) if "kz" in form else stated
    found = array_of(tmp_path, stored, turned, centre={"kz": NZ // 2 + 1})
    assert [problem.code for problem in found.history.problems][-1] == "E-KSP-24"
    if "kz" in form:
        assert torch.equal(found.data, torch.from_numpy(kspace * mask))
    else:
        expected = to_image(kspace * mask, 1).transpose(1, 0, 2, 3)
        np.testing.assert_allclose(found.data.numpy(), expected, atol=1e-5)
        assert found.tensor("mask")[:, 0].tolist() == mask[0, :, 0].tolist()


def test_it_is_what_the_physics_would_have_measured(path, tmp_path):
    """Simulated by the physics, written line by line, and read: the same measurement, and the same image."""
    halves = np.array([5.0, 9.0, 8.0])[:, None, None, None]
    place = (np.indices((16, 24, 20)) - np.array([8, 12, 10])[:, None, None, None]) / halves
    values = (((place**2).sum(0) < 1) + 0.5 * (np.abs(place) < 0.4).all(0)).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([1.25 * Z, 2 * Y, 1.5 * X], axis=1)
    affine[:3, 3] = MIDDLE - affine[:3, :3] @ [8, 12, 10]
    volume = Volume(torch.from_numpy(values), Grid(values.shape, affine), "arbitrary", "MR", "ball")
    changes = ["acquisition.mask={kind: poisson-disc-2d, acceleration: 2.5, calibration: 0.4}", "operator.maps=espirit"]
    recipe = (
        load_recipe("mri-3d", changes).without_prior().changed(["solver={name: cg-sense, iterations: 15, lam: 0.01}"])
    )
    measured = medldm.simulate(volume, recipe=recipe)
    space = ((20, 24, 16), (30.0, 48.0, 20.0))
    lines = lines_of(measured.data.numpy(), measured.tensor("mask")[..., 0].numpy() > 0)
    found = one(write_ismrmrd(path, ismrmrd_xml(space, space), lines))
    assert (found.physics, found.axes, found.grid) == (measured.physics, measured.axes, measured.grid)
    assert torch.equal(found.data, measured.data)
    assert torch.equal(found.tensor("mask"), measured.tensor("mask"))
    # So small an object is still seen where the noise is estimated.
    assert measured.noise_std < found.noise_std < 3 * measured.noise_std
    image = medldm.reconstruct(path, recipe=recipe, device="cpu").image.data.abs().numpy()
    assert np.linalg.norm(image - values) < 0.12 * np.linalg.norm(values)
    # The recipe for slices is refused, and the one that fits named.
    with pytest.raises(UsageError, match=r"E-RUN-03") as refusal:
        medldm.reconstruct(path, recipe=load_recipe("mri-4x").without_prior(), device="cpu")
    assert "--recipe mri-3d" in str(refusal.value.fix)


def test_the_formats_own_library_agrees(path):
    ismrmrd = pytest.importorskip("ismrmrd", reason="the package ismrmrd is not installed; it is an oracle only")
    kspace, readouts = truth(), drawn()
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(XML.encode())
    for kz, ky in np.argwhere(readouts):
        line = ismrmrd.Acquisition.from_array(kspace[:, kz, ky], center_sample=NX // 2)
        line.idx.kspace_encode_step_1, line.idx.kspace_encode_step_2 = int(ky), int(kz)
        line.position[:] = MIDDLE
        line.read_dir[:], line.phase_dir[:], line.slice_dir[:] = X, Y, Z
        dataset.append_acquisition(line)
    dataset.close()
    found = one(path)
    assert torch.equal(found.data, torch.from_numpy(kspace * readouts[..., None]))
    np.testing.assert_allclose(found.grid.world((NZ // 2, NY // 2, NX // 2)), MIDDLE, atol=1e-5)
