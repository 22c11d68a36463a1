"""Separate calibration lines of ISMRMRD come with the measurement, for its coil maps, or are left out and said."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import medldm
from medldm.data import Acquisition, Grid, Volume
from medldm.errors import InputRefused
from medldm.pipeline.recipe import load_recipe
from medldm_rawdata.example_files import ismrmrd_line, ismrmrd_xml, write_ismrmrd
from medldm_rawdata.ismrmrd_lines import CALIBRATION, NOISE
from medldm_rawdata.ismrmrd_reader import IsmrmrdReader
from medldm_rawdata.kspace_noise import NoiseScan
from medldm_rawdata.kspace_transform import to_image
from medldm_rawdata.tests import test_rawdata_volumes as volumes
from medldm_rawdata.tests.ismrmrd_scans import NC, NX, NY, NZ, SPACE, lines_of, one, path, problems_of, truth

__all__ = ["path"]

XML = {mode: ismrmrd_xml(SPACE, SPACE, centre=NY // 2, calibration=mode) for mode in ("separate", "external", "other")}
ROWS = range(NY // 2 - 3, NY // 2 + 3)


def scan(path, image, block, mode="separate", rows=ROWS, **entries):
    """Every second line of an image, and the central lines of another measurement before it."""
    lines = [*lines_of(block, rows, [CALIBRATION], **entries), *lines_of(image, range(0, NY, 2))]
    return write_ismrmrd(path, XML[mode], lines)


def told(path):
    """The sentence on calibration, and its severity."""
    (row,) = IsmrmrdReader().inspect(path)
    return [(p.severity, p.sentence) for p in row.problems if p.code in ("E-KSP-23", "E-KSP-27")]


@pytest.mark.parametrize("mode", ["separate", "external"])
def test_the_block_around_frequency_zero(mode, path):
    image, block = truth(), truth(seed=5)
    found = one(scan(path, image, block, mode))
    assert torch.equal(found.tensor("calibration"), torch.from_numpy(block[:, :, 5:11]))
    image[:, :, 1::2] = 0
    assert torch.equal(found.data, torch.from_numpy(image))
    ((severity, sentence),) = told(path)
    assert (severity, sentence[:9]) == ("note", "18 lines ")
    (row,) = IsmrmrdReader().inspect(path)
    assert "separate calibration 6 x 12, noise" in row.description


def test_lines_beyond_a_gap_are_no_part_of_the_block(path):
    found = one(scan(path, truth(), truth(seed=5), rows=[2, *ROWS, 14]))
    assert found.tensor("calibration").shape == (NZ, NC, 6, NX)


def test_it_loses_the_oversampling_that_the_image_loses(path):
    wide, block = truth(2 * NX), truth(2 * NX, seed=5)
    encoded = ((2 * NX, NY, 1), (2 * NX * 1.5, NY * 2.0, 4.0))
    lines = [*lines_of(block, ROWS, [CALIBRATION]), *lines_of(wide, range(0, NY, 2))]
    write_ismrmrd(path, ismrmrd_xml(encoded, SPACE, calibration="separate"), lines)
    found = one(path)
    expected = to_image(block[:, :, 5:11], -1)[..., NX // 2 : NX // 2 + NX]
    np.testing.assert_allclose(to_image(found.tensor("calibration").numpy(), -1), expected, atol=1e-5)
    # An image with a partial echo keeps it, and so does its calibration.
    lines = [*lines_of(block, ROWS, [CALIBRATION]), *lines_of(wide[..., 7:], range(0, NY, 2), center_sample=NX - 7)]
    write_ismrmrd(path, ismrmrd_xml(encoded, SPACE, calibration="separate"), lines)
    assert torch.equal(one(path).tensor("calibration"), torch.from_numpy(block[:, :, 5:11]))


def test_it_is_whitened_and_loses_silent_coils_as_the_image_does(path):
    image, block, random = truth(), truth(seed=5), np.random.default_rng(3)
    noise = random.standard_normal((NC, 500)) + 1j * random.standard_normal((NC, 500))
    noise[1] += 0.5 * noise[0]
    image[:, 2], noise[2] = 0, 0
    lines = [*lines_of(block, ROWS, [CALIBRATION]), *lines_of(image, range(0, NY, 2))]
    write_ismrmrd(path, XML["separate"], [ismrmrd_line(noise, [NOISE]), *lines])
    alive = [0, 1, 3]
    whitener = NoiseScan(noise[alive].astype(np.complex64)).whitener()
    expected = np.einsum("cd,zdyx->zcyx", whitener, block[:, alive, 5:11])
    np.testing.assert_allclose(one(path).tensor("calibration").numpy(), expected, rtol=1e-4, atol=1e-5)


def test_one_calibration_serves_all_images_and_several_each_its_own(path):
    def images():
        return [line for i in range(2) for line in lines_of(truth(seed=i), range(0, NY, 2), repetition=i)]

    write_ismrmrd(path, XML["separate"], [*lines_of(truth(seed=5), ROWS, [CALIBRATION]), *images()])
    for series in ("#1", "#2"):
        expected = torch.from_numpy(truth(seed=5)[:, :, 5:11])
        assert torch.equal(one(path, series=series).tensor("calibration"), expected)
    several = [line for i in range(2) for line in lines_of(truth(seed=5 + i), ROWS, [CALIBRATION], repetition=i)]
    write_ismrmrd(path, XML["separate"], [*several, *images()])
    for i in range(2):
        expected = torch.from_numpy(truth(seed=5 + i)[:, :, 5:11])
        assert torch.equal(one(path, series=f"#{i + 1}").tensor("calibration"), expected)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mode": "other"}, "whose contrast may differ, are left out"),
        ({"rows": range(3)}, "around frequency zero there are 0 next"),
        ({"rows": range(7, 10)}, "around frequency zero there are 2 next"),
        ({"encoding_space_ref": 1}, "of further encodings are left out"),
        ({"block": truth()[:2]}, "some slices have none"),
        ({"block": truth()[:, :3]}, "they have other coils"),
        ({"block": truth(NX // 2)}, "do not fit the image's k-space"),
        ({"block": truth(NX - 1), "center_sample": NX // 2 - 1}, "some of their samples are missing"),
        ({"block": truth() * np.nan}, "some of their samples are missing"),
    ],
    ids=["mode", "far", "few", "encoding", "slices", "coils", "short", "cut", "nan"],
)
def test_what_does_not_fit_is_left_out_and_said(change, why, path):
    scan(path, truth(), **{"block": truth(seed=5), **change})
    assert "calibration" not in one(path).tensors
    ((severity, sentence),) = told(path)
    assert severity == "warning"
    assert why in sentence


def test_volumes(path):
    """Of an undersampled volume a block along kz and ky; of slices the smooth image of the central partitions."""
    image, block = volumes.truth(), volumes.truth(seed=5)
    aside = np.zeros((volumes.NZ, volumes.NY), bool)
    aside[2:6, 3:9] = True
    apart = volumes.lines_of(block, aside, [CALIBRATION])
    xml = ismrmrd_xml(volumes.SPACE, volumes.SPACE, calibration="separate")
    evenly = np.zeros_like(aside)
    evenly[::2, ::2] = True
    write_ismrmrd(path, xml, [*apart, *volumes.lines_of(image, evenly)])
    found = one(path)
    assert found.physics == "mri-cartesian-3d"
    assert torch.equal(found.tensor("calibration"), torch.from_numpy(block[:, 2:6, 3:9]))
    assert "separate calibration 4 x 6 x 10" in IsmrmrdReader().inspect(path)[0].description
    evenly[:] = evenly[:1]
    write_ismrmrd(path, xml, [*apart, *volumes.lines_of(image, evenly)])
    central = block * aside[..., None]
    expected = to_image(central, 1)[:, :, 3:9].transpose(1, 0, 2, 3)
    np.testing.assert_allclose(one(path).tensor("calibration").numpy(), expected, atol=1e-5)


def brain() -> tuple[Volume, Acquisition]:
    """An object, and a full measurement of it with eight coils."""
    place = (np.indices((2, 64, 48))[1:] - np.array([32, 24])[:, None, None, None]) / np.array([26.0, 20.0]).reshape(
        2, 1, 1, 1
    )
    values = ((place**2).sum(0) < 1) + 0.5 * (np.abs(place - 0.2) < 0.25).all(0)
    volume = Volume(
        torch.from_numpy(values.astype(np.float32)),
        Grid.isotropic((2, 64, 48), (5.0, 2.0, 2.0)),
        "arbitrary",
        "MR",
        "b",
    )
    whole = ["acquisition.mask={kind: uniform, acceleration: 1.0}"]
    return volume, medldm.simulate(volume, recipe=load_recipe("mri-4x", whole).without_prior())


def test_from_the_file_to_the_image(path):
    """Four times undersampled without a centre: the image comes out, and only with the separate lines."""
    ismrmrd = pytest.importorskip("ismrmrd", reason="the package ismrmrd is not installed; it is an oracle only")
    volume, measured = brain()
    data, recipe = (
        measured.data.numpy(),
        load_recipe("mri-4x", ["classical={name: cg-sense, iterations: 30, lam: 0.001}"]),
    )
    space = ((48, 64, 1), (96.0, 128.0, 5.0))
    for kept in (True, False):
        dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
        dataset.write_xml_header(ismrmrd_xml(space, space, centre=32, calibration="separate").encode())
        for z, ky in np.ndindex(2, 64):
            # Brighter, and with another phase, than the image.
            for here, scale, flag in (
                (kept and 20 <= ky < 44, 3j, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION),
                (ky % 4 == 0, 1, None),
            ):
                if here:
                    line = ismrmrd.Acquisition.from_array(
                        (scale * data[z, :, ky]).astype(np.complex64), center_sample=24
                    )
                    line.idx.kspace_encode_step_1, line.idx.slice = ky, z
                    line.position[:] = (0, 0, 5 * z)
                    line.read_dir[:], line.phase_dir[:], line.slice_dir[:] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
                    if flag is not None:
                        line.set_flag(flag)
                    dataset.append_acquisition(line)
        dataset.close()
        if kept:
            assert problems_of(path) == {"E-KSP-20", "E-KSP-27"}
            result = medldm.reconstruct(path, recipe=recipe.without_prior(), device="cpu")
            error = np.linalg.norm(np.abs(result.image.data.numpy()) - volume.data.numpy())
            assert error < 0.1 * np.linalg.norm(volume.data.numpy())
        else:
            with pytest.raises(InputRefused, match="E-MRI-02"):
                medldm.reconstruct(path, recipe=recipe.without_prior(), device="cpu")
        path.unlink()
