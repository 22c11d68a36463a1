"""Coverage and ratio where the right answer is known; each wrong spread must be found out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from medldm.data import Grid, Volume
from medldm.pipeline.calibration import LEVELS, calibration

SHAPE = (2, 150, 150)
VOXELS = math.prod(SHAPE)


def volume(data: Tensor, hu: bool = False) -> Volume:
    return Volume(data, Grid.isotropic(SHAPE), "HU" if hu else "arbitrary", "CT" if hu else "MR")


def scene(samples: int) -> tuple[Tensor, Tensor]:
    """Samples and truth of one law in every voxel, whose width differs from voxel to voxel."""
    generator = torch.Generator().manual_seed(4)
    width = torch.linspace(0.5, 4, VOXELS).reshape(SHAPE)
    draws = 100 + width * torch.randn(samples + 1, *SHAPE, generator=generator)
    return draws[:-1], draws[-1]


@pytest.mark.parametrize("samples", [2, 4, 10])
def test_a_truth_that_is_one_more_sample_is_covered_as_said(samples: int) -> None:
    each, truth = scene(samples)
    found = calibration(volume(each.mean(0)), volume(each.std(0)), samples, volume(truth))
    assert found["voxels"] == VOXELS
    for level in LEVELS:
        chance = 4 * math.sqrt(level * (1 - level) / VOXELS)
        assert found["coverage"][str(level)] == pytest.approx(level, abs=chance)
    assert found["ratio"] == pytest.approx(1, abs=0.02)
    assert found["rms_error"] == pytest.approx(found["rms_spread"] * math.sqrt(1 + 1 / samples), rel=0.02)


def population(each: Tensor) -> Tensor:
    return each.std(0, correction=0)


def of_the_mean(each: Tensor) -> Tensor:
    return each.std(0) / len(each) ** 0.5


def variance(each: Tensor) -> Tensor:
    return each.var(0)


@pytest.mark.parametrize("wrong", [population, of_the_mean, variance])
def test_a_spread_computed_wrong_is_found_out(wrong: Callable[[Tensor], Tensor]) -> None:
    each, truth = scene(4)
    found = calibration(volume(each.mean(0)), volume(wrong(each)), 4, volume(truth))
    assert abs(found["coverage"]["0.8"] - 0.8) > 0.03
    assert abs(found["ratio"] - 1) > 0.1


def test_bins_follow_the_spread() -> None:
    each, truth = scene(10)
    bins = calibration(volume(each.mean(0)), volume(each.std(0)), 10, volume(truth))["bins"]
    assert sum(part["voxels"] for part in bins) == VOXELS
    spreads = [part["spread"] for part in bins]
    assert spreads == sorted(spreads)
    assert bins[-1]["error"] > 3 * bins[0]["error"]


def test_air_is_left_out_also_in_hu() -> None:
    truth = torch.full(SHAPE, -1000.0)
    truth[:, 50:100, 50:100] = 40
    mean = truth + 3
    found = calibration(volume(mean, hu=True), volume(torch.ones(SHAPE), hu=True), 4, volume(truth, hu=True))
    assert found["voxels"] == 2 * 50 * 50
    assert found["rms_error"] == pytest.approx(3)
    assert found["coverage"]["0.5"] == 0


def test_no_spread_has_no_ratio() -> None:
    _, truth = scene(2)
    found = calibration(volume(truth + 1), volume(torch.zeros(SHAPE)), 2, volume(truth))
    assert found["ratio"] is None


@pytest.mark.parametrize("bias", [0.5, 3.0])
def test_an_error_that_all_samples_share_is_covered_once_it_is_stated(bias: float) -> None:
    each, truth = scene(4)
    shared = bias * torch.randn(SHAPE, generator=torch.Generator().manual_seed(9))
    mean, spread = volume(each.mean(0) + shared), volume(each.std(0))
    silent = calibration(mean, spread, 4, volume(truth))
    stated = calibration(mean, spread, 4, volume(truth), model_error=bias)
    assert stated["model_error"] == bias and silent["model_error"] == 0
    assert stated["ratio"] == silent["ratio"]
    for level in LEVELS:
        # Welch and Satterthwaite's degrees of freedom are an approximation, on the safe side here.
        assert -0.01 < stated["coverage"][str(level)] - level < 0.06
        assert silent["coverage"][str(level)] < stated["coverage"][str(level)]
    assert silent["coverage"]["0.8"] < (0.79 if bias < 1 else 0.6)
