"""Student's t in closed form against tables and against draws."""

from __future__ import annotations

import math

import pytest
import torch

from medldm.inference.student_t import predictive_factor, quantile, two_sided


@pytest.mark.parametrize(
    ("level", "degrees", "table"),
    # Abramowitz and Stegun, table 26.10.
    [(0.8, 1, 3.078), (0.8, 3, 1.638), (0.5, 2, 0.816), (0.95, 1, 12.706), (0.95, 7, 2.365), (0.95, 30, 2.042)],
)
def test_quantiles_are_those_of_the_tables(level: float, degrees: int, table: float) -> None:
    assert quantile(level, degrees) == pytest.approx(table, abs=5e-4)


def test_many_degrees_are_normal() -> None:
    assert two_sided(1.959964, 4000) == pytest.approx(0.95, abs=2e-4)
    assert two_sided(0.0, 5) == 0


@pytest.mark.parametrize(("level", "degrees"), [(0.0, 3), (1.0, 3), (0.8, 0)])
def test_what_has_no_quantile_is_refused(level: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="level"):
        quantile(level, degrees)


@pytest.mark.parametrize("samples", [2, 4, 9])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_a_further_draw_lies_inside_as_often_as_said(level: float, samples: int) -> None:
    draws = 3 + 2 * torch.randn(samples + 1, 40000, generator=torch.Generator().manual_seed(1))
    mean, spread = draws[:-1].mean(0), draws[:-1].std(0)
    inside = (draws[-1] - mean).abs() <= predictive_factor(level, samples) * spread
    assert float(inside.float().mean()) == pytest.approx(level, abs=4 * math.sqrt(0.25 / 40000))
