"""Each law of metrics fails for a metric broken in that way only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from law_scene import VOLUME

from medldm.data import Volume
from medldm.errors import UsageError
from medldm.testing import MetricExample, contracts, metric_laws


def error(estimate: Volume, truth: Volume) -> dict[str, float]:
    if estimate.grid != truth.grid:
        raise UsageError("E-MET-99", "The grids differ.")
    mse = float((estimate.data - truth.data).square().mean())
    return {"rmse": math.sqrt(mse) if mse >= 0 else mse, "psnr": -10 * math.log10(mse) if mse > 0 else _unbounded(mse)}


def _unbounded(mse: float) -> float:
    return math.inf if mse == 0 else math.nan


PERFECT = {"rmse": 0.0, "psnr": math.inf}
Metric = Callable[[Volume, Volume], Mapping[str, float]]


class TestError(contracts.MetricContract):
    @pytest.fixture
    def example(self) -> MetricExample:
        return MetricExample(error, VOLUME, PERFECT)


def changes(estimate: Volume, truth: Volume) -> Mapping[str, float]:
    values = error(estimate, truth)
    estimate.data.zero_()
    return values


@pytest.mark.parametrize(
    ("law", "metric"),
    [
        (metric_laws.law_perfect, lambda a, b: {"rmse": 0.1, "psnr": 1.0}),
        (metric_laws.law_worse_for_more_noise, lambda a, b: {"rmse": 0.1, "psnr": -error(a, b)["psnr"]}),
        (metric_laws.law_plain_numbers, lambda a, b: {"rmse": torch.tensor(1.0)}),
        (metric_laws.law_refuses_another_grid, lambda a, b: {"rmse": 0.0}),
        (metric_laws.law_never_flatters_nan, lambda a, b: {"rmse": 0.0, "psnr": 99.0}),
        (metric_laws.law_inputs_unchanged, changes),
    ],
)
def test_a_broken_metric_is_found(law: metric_laws.MetricLaw, metric: Metric) -> None:
    with pytest.raises(AssertionError):
        law(MetricExample(metric, VOLUME, PERFECT))
