"""ISMRMRD files made from a known k-space give it back; every trap of the format has a test."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medldm.data import ReadRequest
from medldm_rawdata.example_files import ismrmrd_xml, write_ismrmrd
from medldm_rawdata.ismrmrd_lines import CALIBRATION, CALIBRATION_AND_IMAGE, PHASE_CORRECTION, REVERSE
from medldm_rawdata.ismrmrd_reader import IsmrmrdReader
from medldm_rawdata.kspace_transform import to_frequency, to_image
from medldm_rawdata.tests.ismrmrd_scans import (
    FIRST,
    NX,
    NY,
    NZ,
    PLACE,
    SPACE,
    XML,
    X,
    Y,
    Z,
    code_of,
    lines_of,
    one,
    path,
    problems_of,
    truth,
)

__all__ = ["path"]


def test_values_place_and_mask(path):
    kspace = truth()
    rows = [0, 2, 4, 6, 7, 8, 9, 10, 12]
    lines = lines_of(kspace, rows)
    np.random.default_rng(0).shuffle(lines)
    write_ismrmrd(path, XML, lines)
    found = one(path)
    kspace[:, :, [r for r in range(NY) if r not in rows]] = 0
    assert torch.equal(found.data, torch.from_numpy(kspace))
    assert found.tensor("mask").sum() == len(rows) * NX
    assert found.settings["full_centre"] == [4, NX]
    assert not found.simulated
    # Where the gradients are zero, voxel n // 2, is the position of the slice; each index steps along its direction.
    for k in range(NZ):
        np.testing.assert_allclose(found.grid.world((k, NY // 2, NX // 2)), FIRST + 5 * k * Z, atol=1e-5)
    step = found.grid.world((1, NY // 2 + 1, NX // 2 + 1)) - found.grid.world((0, NY // 2, NX // 2))
    np.testing.assert_allclose(step, 5 * Z + 2 * Y + 1.5 * X, atol=1e-5)
    (row,) = IsmrmrdReader().inspect(path)
    assert (row.shape, row.format) == ((NZ, NY, NX), "ismrmrd")
    for fact in ("coil 4", "acceleration 1.78", "full centre 4 x 12", "(estimated)"):
        assert fact in row.description


def test_slices_are_ordered_by_position_not_by_number(path):
    kspace = truth()
    order = [1, 2, 0]  # counters as acquired, of the slices from low to high
    lines = [
        line for k in range(NZ) for line in lines_of(kspace[k : k + 1], slice=order[k], position=FIRST + 5 * k * Z)
    ]
    write_ismrmrd(path, XML, lines)
    assert torch.equal(one(path).data, torch.from_numpy(kspace))


def test_oversampling_is_removed_and_the_image_kept(path):
    wide = truth(2 * NX)
    encoded = ((2 * NX, NY, 1), (2 * NX * 1.5, NY * 2.0, 4.0))
    write_ismrmrd(path, ismrmrd_xml(encoded, SPACE, centre=NY // 2), lines_of(wide))
    found = one(path)
    assert found.grid.shape == (NZ, NY, NX)
    assert found.grid.spacing == pytest.approx((5, 2, 1.5))
    image = to_image(to_image(found.data.numpy(), -1), -2)
    expected = to_image(to_image(wide, -1), -2)[..., NX // 2 : NX // 2 + NX]
    np.testing.assert_allclose(image, expected, atol=1e-5)
    np.testing.assert_allclose(found.grid.world((0, NY // 2, NX // 2)), FIRST, atol=1e-5)


@pytest.mark.parametrize("n", [12, 13])
def test_reversed_lines_are_turned_about_frequency_zero(n, path):
    kspace = truth(n)
    space = ((n, NY, 1), (n * 1.5, NY * 2.0, 4.0))
    lines = []
    for ky in range(NY):
        if ky % 2 == 0:
            lines += lines_of(kspace, [ky])
            continue
        # Sample i of a reversed line is frequency -(i - n // 2); -(-n/2) is the frequency -n/2 of the grid.
        back = kspace[..., (n // 2 - (np.arange(n) - n // 2)) % n]
        lines += lines_of(back, [ky], [REVERSE])
    write_ismrmrd(path, ismrmrd_xml(space, space, centre=NY // 2), lines)
    assert torch.equal(one(path).data, torch.from_numpy(kspace))


def test_partial_fourier_is_not_sampled(path):
    kspace = truth()
    # Lines are counted from the first one measured: frequency zero is their line 5.
    lines = lines_of(kspace[:, :, 3:], range(NY - 3))
    write_ismrmrd(path, ismrmrd_xml(SPACE, SPACE, centre=5), lines)
    found = one(path)
    kspace[:, :, :3] = 0
    assert torch.equal(found.data, torch.from_numpy(kspace))
    assert found.tensor("mask")[:, 0].tolist() == [0] * 3 + [1] * 13


def test_a_partial_echo_keeps_its_oversampling(path):
    wide = truth(2 * NX)
    encoded = ((2 * NX, NY, 1), (2 * NX * 1.5, NY * 2.0, 4.0))
    lines = lines_of(wide[..., 7:], center_sample=NX - 7, discard_pre=1)
    write_ismrmrd(path, ismrmrd_xml(encoded, SPACE, centre=NY // 2), lines)
    found = one(path)
    wide[..., :8] = 0
    assert torch.equal(found.data, torch.from_numpy(wide))
    assert found.tensor("mask")[0].tolist() == [0] * 8 + [1] * 16
    assert found.grid.spacing[2] == pytest.approx(1.5)
    assert "E-KSP-25" in problems_of(path)


def test_averages(path):
    a, b = truth(seed=1), truth(seed=2)
    write_ismrmrd(path, XML, [*lines_of(a), *lines_of(b, average=1)])
    found = one(path)
    np.testing.assert_allclose(found.data.numpy(), (a + b) / 2, atol=1e-6)
    assert found.settings["averages"] == 2
    write_ismrmrd(path, XML, [*lines_of(a), *lines_of(b, range(6), average=1)])
    assert code_of(path) == "E-KSP-14"
    write_ismrmrd(path, XML, [*lines_of(a), *lines_of(b, range(6))])
    assert code_of(path) == "E-KSP-13"


def test_calibration_lines(path):
    kspace = truth()
    both = lines_of(kspace, range(6, 11), [CALIBRATION_AND_IMAGE])
    only = lines_of(kspace, [5, 11], [CALIBRATION])
    image = lines_of(kspace, [0, 2, 4, 12, 14])
    header = {mode: ismrmrd_xml(SPACE, SPACE, centre=8, calibration=mode) for mode in ("embedded", "separate")}
    write_ismrmrd(path, header["embedded"], [*both, *only, *image])
    assert one(path).tensor("mask")[:, 0].nonzero().flatten().tolist() == [0, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14]
    write_ismrmrd(path, header["separate"], [*both, *only, *image])
    assert one(path).tensor("mask")[:, 0].nonzero().flatten().tolist() == [0, 2, 4, 6, 7, 8, 9, 10, 12, 14]
    assert "E-KSP-23" in problems_of(path)


@pytest.mark.parametrize("flag", [23, 24, 26, 27, 28, 29, 30, 31])
def test_other_lines_are_left_out(flag, path):
    write_ismrmrd(path, XML, [*lines_of(7 * truth(), range(3), [flag]), *lines_of(truth())])
    assert torch.equal(one(path).data, torch.from_numpy(truth()))
    assert "E-KSP-23" in problems_of(path)


def test_contrasts_and_repetitions_are_scans_of_their_own(path):
    lines = []
    for contrast in range(2):
        for repetition in (0, 3):
            lines += lines_of(truth(seed=10 * contrast + repetition), contrast=contrast, repetition=repetition)
    write_ismrmrd(path, XML, lines)
    rows = IsmrmrdReader().inspect(path)
    assert [row.index for row in rows] == [1, 2, 3, 4]
    assert rows[1].description.startswith("contrast 0 repetition 3;")
    assert len(IsmrmrdReader().read(path, ReadRequest())) == 4
    for series in ("#3", "contrast 1 repetition 0", "scan-contrast-1-repetition-0"):
        assert torch.equal(one(path, series=series).data, torch.from_numpy(truth(seed=10)))
    assert code_of(path, series="#5") == "E-KSP-17"


def test_a_file_without_directions_says_so(path):
    nowhere = dict.fromkeys((*PLACE, "position"), np.zeros(3))
    write_ismrmrd(path, XML, lines_of(truth(), **nowhere))
    found = one(path)
    assert found.grid.spacing == pytest.approx((4, 2, 1.5))
    assert [problem.code for problem in found.history.problems] == [
        "E-KSP-21",
        "E-KSP-20",
    ]


def test_the_formats_own_library_agrees(path):
    ismrmrd = pytest.importorskip("ismrmrd", reason="the package ismrmrd is not installed: pip install 'medldm[test]'")
    kspace = truth()
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(XML.encode())
    for ky in range(NY):
        for k in range(NZ):
            line = ismrmrd.Acquisition.from_array(kspace[k, :, ky], center_sample=NX // 2)
            line.idx.kspace_encode_step_1, line.idx.slice = ky, k
            line.position[:] = FIRST + 5 * k * Z
            line.read_dir[:], line.phase_dir[:], line.slice_dir[:] = X, Y, Z
            if ky % 2:
                line.set_flag(ismrmrd.ACQ_IS_REVERSE)
                line.data[:] = line.data[:, (NX // 2 - (np.arange(NX) - NX // 2)) % NX]
            dataset.append_acquisition(line)
    dataset.close()
    found = one(path)
    assert torch.equal(found.data, torch.from_numpy(kspace))
    np.testing.assert_allclose(found.grid.world((2, NY // 2, NX // 2)), FIRST + 10 * Z, atol=1e-5)


def test_transforms_are_inverse_and_orthonormal():
    for n in (12, 13):
        kspace = truth(n)
        np.testing.assert_allclose(to_frequency(to_image(kspace, -1), -1), kspace, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(to_image(kspace, -2)), np.linalg.norm(kspace), rtol=1e-5)


def test_readouts_to_and_fro_without_their_phase_correction_are_doubted(path):
    kspace = truth()
    lines = lines_of(kspace, range(0, NY, 2)) + [
        line
        for ky in range(1, NY, 2)
        for line in lines_of(kspace[..., ::-1], [ky], [REVERSE], center_sample=NX - 1 - NX // 2)
    ]
    navigator = lines_of(kspace, [NY // 2], [PHASE_CORRECTION]) * 3
    write_ismrmrd(path, XML, lines)
    assert "E-KSP-29" not in problems_of(path)
    write_ismrmrd(path, XML, navigator + lines_of(kspace))
    assert "E-KSP-29" not in problems_of(path)
    write_ismrmrd(path, XML, navigator + lines)
    assert problems_of(path) >= {"E-KSP-23", "E-KSP-29"}
