"""The fine part of the error along the stack, against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from medldm.data import Grid, Volume
from medldm.testing.law import NotApplicable
from medldm.testing.metric_laws import METRIC_LAWS, MetricLaw
from medldm_metrics import examples
from medldm_metrics.window import field_of_view
from medldm_metrics.z_noise import ZNoise, band_power

SHAPE = (32, 40, 48)


def noise(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_error(error: torch.Tensor) -> dict[str, float]:
    """Of an image whose range is 100."""
    truth = Volume(torch.full(error.shape, 100.0), Grid.isotropic(tuple(error.shape)))
    return ZNoise()(replace(truth, data=truth.data + error.float()), truth)


@pytest.mark.parametrize("law", METRIC_LAWS, ids=lambda law: law.__name__)
def test_law(law: MetricLaw) -> None:
    try:
        law(examples.z_noise())
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("n", [4, 5, 8, 13, 32])
def test_white_noise_has_half_its_variance_in_the_band(n: int) -> None:
    error = noise(1, (n, 200, 210))
    assert band_power(error, 0) == pytest.approx(0.5, rel=0.02)


def test_white_noise_is_as_fine_along_as_across() -> None:
    values = with_error(3 * noise())
    assert values["z_noise"] == pytest.approx(3 / 100 / math.sqrt(2), rel=0.02)
    assert values["z_noise_ratio"] == pytest.approx(1, abs=0.03)
    assert with_error(30 * noise())["z_noise_ratio"] == pytest.approx(values["z_noise_ratio"], rel=1e-4)


def test_complex_errors_count_both_parts() -> None:
    error = torch.complex(noise(0), noise(1))
    assert band_power(error, 0) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(("frequency", "share"), [(0.45, 1.0), (0.35, 1.0), (0.1, 0.0), (0.0, 0.0), (0.5, 1.0)])
def test_a_wave_along_the_stack_counts_when_it_is_fine(frequency: float, share: float) -> None:
    """Mean square of a wave is 1/2, at half a cycle per slice 1."""
    z = torch.arange(64, dtype=torch.float64)
    error = torch.cos(2 * math.pi * frequency * z)[:, None, None].expand(64, 4, 5)
    mean_square = 1.0 if frequency in (0.0, 0.5) else 0.5
    assert band_power(error, 0) == pytest.approx(share * mean_square, abs=5e-3)


def test_smeared_and_flickering_slices() -> None:
    """Slices [1, 2, 1] / 4 of white noise have the power spectrum cos^4(pi f), whose share of the band is known."""
    white = noise(3, (66, 60, 70))
    smeared = (white[:-2] + 2 * white[1:-1] + white[2:]) / 4
    f = torch.linspace(0.25, 0.5, 20001, dtype=torch.float64)
    in_band = 2 * float(torch.trapezoid(torch.cos(math.pi * f) ** 4, f))
    assert band_power(smeared, 0) == pytest.approx(in_band, rel=0.1)
    # Across, the power of the whole: 3/8 of the variance, half of it in the band.
    assert with_error(smeared)["z_noise_ratio"] == pytest.approx(in_band / (3 / 16), rel=0.1)
    # A change of brightness from slice to slice is all along and nothing across.
    flicker = noise(4, (64, 1, 1)).expand(64, 60, 70)
    assert with_error(flicker + 0.1 * white[:64])["z_noise_ratio"] > 30


def test_a_shift_or_a_ramp_of_the_whole_is_no_flicker() -> None:
    ramp = torch.linspace(-1, 1, 64, dtype=torch.float64)[:, None, None].expand(64, 6, 7)
    assert math.sqrt(band_power(ramp + 5, 0) or 0) < 2e-3 * 5


def test_what_does_not_exist_is_absent() -> None:
    assert with_error(noise(0, (3, 20, 20))) == {}
    assert with_error(torch.zeros(SHAPE)) == {"z_noise": 0.0}
    assert with_error(noise(0, (8, 3, 2))).keys() == {"z_noise"}


def test_what_lies_outside_the_field_of_view_of_ct_does_not_count() -> None:
    truth = examples.hounsfield()
    outside = ~field_of_view(truth)
    data = truth.data.clone()
    data[outside] = 900.0
    assert outside.any()
    assert ZNoise()(replace(truth, data=data), truth) == {"z_noise": 0.0}
