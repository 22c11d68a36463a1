"""Noise levels of diffusion solvers."""

from __future__ import annotations

import pytest
import torch

from medldm.inference.schedule import noise_levels


def test_levels_fall_from_high_to_low_and_end_in_zero() -> None:
    levels = noise_levels(20, 0.002, 10.0)
    assert levels.shape == (21,)
    assert levels[0] == pytest.approx(10.0)
    assert levels[-2] == pytest.approx(0.002)
    assert levels[-1] == 0
    assert bool((levels.diff() < 0).all())


def test_rho_one_is_a_straight_line() -> None:
    assert torch.allclose(noise_levels(5, 1.0, 5.0, rho=1.0), torch.tensor([5.0, 4, 3, 2, 1, 0], dtype=torch.float64))


@pytest.mark.parametrize("low", [0.002, 1 / 3, 9.99, 10.0])
@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
def test_no_level_is_outside_by_a_rounding(low: float, rho: float) -> None:
    for steps in (1, 2, 9):
        levels = noise_levels(steps, low, 10.0, rho)[:-1]
        assert levels[0] == 10.0
        assert steps == 1 or levels[-1] == low
        assert bool((low <= levels).all() and (levels <= 10.0).all())


def test_one_step_is_the_highest_level() -> None:
    assert noise_levels(1, 0.1, 2.0).tolist() == pytest.approx([2.0, 0.0])


@pytest.mark.parametrize(("steps", "low", "high"), [(0, 0.1, 1.0), (5, 0.0, 1.0), (5, 2.0, 1.0)])
def test_impossible_levels_are_refused(steps: int, low: float, high: float) -> None:
    with pytest.raises(ValueError, match="noise levels"):
        noise_levels(steps, low, high)
