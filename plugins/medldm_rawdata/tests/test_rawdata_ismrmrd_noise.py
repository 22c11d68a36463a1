"""Noise scans of ISMRMRD files: coils are white after whitening, and noise that tells nothing is refused."""

from __future__ import annotations

import numpy as np
import pytest

from medldm_rawdata.example_files import ismrmrd_line, ismrmrd_xml, write_ismrmrd
from medldm_rawdata.ismrmrd_lines import NOISE
from medldm_rawdata.tests.ismrmrd_scans import (
    NC,
    NX,
    NY,
    NZ,
    SPACE,
    XML,
    code_of,
    lines_of,
    one,
    path,
    problems_of,
    truth,
)

__all__ = ["path"]


def correlated(random, count):
    mixing = random.standard_normal((NC, NC)) + 1j * random.standard_normal((NC, NC))
    return mixing @ (random.standard_normal((NC, count)) + 1j * random.standard_normal((NC, count)))


@pytest.mark.parametrize("averages", [1, 2])
def test_noise_is_white_after_whitening(averages, path):
    # One long draw: the first part is the noise scan, the rest is measured as k-space of nothing but noise, whose
    # dwell time is 4 times as long, so that its noise is half as strong.
    count = NZ * NY * NX
    draw = correlated(np.random.default_rng(7), 20000 + averages * count)
    measured = (draw[:, 20000:] / 2).reshape(NC, averages, NZ, NY, NX).transpose(1, 2, 0, 3, 4)
    lines = [ismrmrd_line(draw[:, i : i + 200], [NOISE], sample_time_us=2.0) for i in range(0, 20000, 200)]
    for number, part in enumerate(measured):
        lines += lines_of(part, average=number, sample_time_us=8.0)
    write_ismrmrd(path, XML, lines)
    found = one(path)
    assert found.noise_std == pytest.approx(1 / averages**0.5)
    assert found.settings["noise"] == "noise scan"
    white = found.data.permute(1, 0, 2, 3).reshape(NC, -1).numpy() / found.noise_std
    covariance = white @ white.conj().T / (2 * count)
    # A mean of 576 samples is within 1 / sqrt(576) = 4 % of its expectation; five of these.
    np.testing.assert_allclose(covariance, np.eye(NC), atol=0.2)
    assert abs(np.trace(covariance).real / NC - 1) < 0.1
    # Exactly white where the covariance is measured.
    scan = np.linalg.inv(np.linalg.cholesky(draw[:, :20000] @ draw[:, :20000].conj().T / 40000 / 4))
    expected = np.einsum("cd,zdyx->zcyx", scan, measured.mean(axis=0))
    np.testing.assert_allclose(found.data.numpy(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dwells", [(10.0, 5.0), (5.0, 10.0)])
def test_noise_of_several_dwell_times_is_brought_to_one(dwells, path):
    # As strong as that of the image at its own dwell time of 5 us.
    draw = correlated(np.random.default_rng(9), 10000)
    halves = [draw[:, i * 5000 :][:, :5000] * (5.0 / dwell) ** 0.5 for i, dwell in enumerate(dwells)]
    scan = [ismrmrd_line(half, [NOISE], sample_time_us=dwell) for half, dwell in zip(halves, dwells, strict=True)]
    write_ismrmrd(path, XML, [*scan, *lines_of(truth())])
    found = one(path).data.numpy()
    write_ismrmrd(path, XML, [ismrmrd_line(draw, [NOISE]), *lines_of(truth())])
    np.testing.assert_allclose(found, one(path).data.numpy(), rtol=1e-4, atol=1e-5)


def test_the_noise_bandwidth_of_the_receiver_counts(path):
    draw = correlated(np.random.default_rng(3), 5000)
    scan = [ismrmrd_line(draw, [NOISE])]
    found = []
    for ratio in (None, 0.8):
        write_ismrmrd(path, ismrmrd_xml(SPACE, SPACE, noise_bandwidth=ratio), [*scan, *lines_of(truth())])
        found.append(one(path).data)
    # The scan's mean power is 0.8 of the power within the band of the image.
    np.testing.assert_allclose(found[1].numpy(), found[0].numpy() * 0.8**0.5, rtol=1e-4, atol=1e-5)


def test_an_unusable_noise_scan_is_refused(path):
    few = correlated(np.random.default_rng(3), 30)
    write_ismrmrd(path, XML, [ismrmrd_line(few, [NOISE]), *lines_of(truth())])
    assert code_of(path) == "E-KSP-16"
    many = correlated(np.random.default_rng(3), 300)
    many[2] = many[1]
    write_ismrmrd(path, XML, [ismrmrd_line(many, [NOISE]), *lines_of(truth())])
    assert code_of(path) == "E-KSP-16"
    write_ismrmrd(path, XML, [ismrmrd_line(many[:3], [NOISE]), *lines_of(truth())])
    assert code_of(path) == "E-KSP-12"


def test_a_silent_coil_is_left_out_of_image_and_noise(path):
    kspace, noise = truth(), correlated(np.random.default_rng(3), 500)
    kspace[:, 2], noise[2] = 0, 0
    write_ismrmrd(path, XML, [ismrmrd_line(noise, [NOISE], sample_time_us=0), *lines_of(kspace)])
    assert one(path).size("coil") == 3
    assert problems_of(path) == {"E-KSP-22"}
