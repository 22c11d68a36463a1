"""Half widths against Student's t, the normal law and the guide's own example."""

from __future__ import annotations

import math

import pytest
import torch

from medldm.inference.interval_width import half_width
from medldm.inference.student_t import quantile


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [2, 4, 9])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_without_a_model_error_it_is_students(level: float, samples: int, dtype: torch.dtype) -> None:
    spread = torch.tensor([0.0, 1e-30, 0.3, 7.0], dtype=dtype)
    expected = quantile(level, samples - 1) * math.sqrt(1 + 1 / samples) * spread
    torch.testing.assert_close(half_width(spread, samples, level), expected)


@pytest.mark.parametrize("samples", [2, 4, 9])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_a_further_draw_lies_inside_as_often_as_said(level: float, samples: int) -> None:
    draws = 3 + 2 * torch.randn(samples + 1, 40000, generator=torch.Generator().manual_seed(1))
    mean, spread = draws[:-1].mean(0), draws[:-1].std(0)
    inside = (draws[-1] - mean).abs() <= half_width(spread, samples, level)
    assert float(inside.float().mean()) == pytest.approx(level, abs=4 * math.sqrt(0.25 / 40000))


def test_a_model_error_alone_is_normal() -> None:
    width = half_width(torch.zeros(2, 3, dtype=torch.float64), 4, 0.95, model_error=2.0)
    assert width.shape == (2, 3)
    assert float(width[0, 0]) == pytest.approx(1.96 * 2, rel=0.02)


def test_degrees_of_freedom_are_those_of_welch_and_satterthwaite() -> None:
    # n = 3: the sampled part has 2 degrees of freedom and a variance of 1.5 * 4/3 = 2; with b^2 = 2 the sum has
    # (2 + 2)^2 / (2^2 / 2) = 8.
    width = half_width(torch.tensor(1.5**0.5, dtype=torch.float64), 3, 0.8, model_error=2**0.5)
    assert float(width) == pytest.approx(quantile(0.8, 8) * 2, rel=1e-12)


def test_a_large_model_error_rules() -> None:
    spread = torch.linspace(0.1, 5, 50)
    small, large = half_width(spread, 4, 0.8, 3.0), half_width(spread, 4, 0.8, 20.0)
    assert bool((large > small).all())
    torch.testing.assert_close(large, torch.full_like(large, 20 * 1.2816), rtol=0.05, atol=0)
