"""Each law of metrics fails for a metric broken in that way, and no other does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from law_scene import VOLUME, failing, names

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


def offset(estimate: Volume, truth: Volume) -> Mapping[str, float]:
    values = error(estimate, truth)
    return {**values, "rmse": values["rmse"] + 0.1}


def saturated(estimate: Volume, truth: Volume) -> Mapping[str, float]:
    values = error(estimate, truth)
    # Of a NaN and a number, min gives the first.
    return {**values, "rmse": min(values["rmse"], 1e-3)}


def tensors(estimate: Volume, truth: Volume) -> Mapping[str, float]:
    return {name: torch.tensor(value) for name, value in error(estimate, truth).items()}  # type: ignore[misc]


def crops(estimate: Volume, truth: Volume) -> Mapping[str, float]:
    z, y, x = truth.grid.shape
    return error(replace(estimate, data=estimate.data[:z, :y, :x], grid=truth.grid), truth)


def fills(estimate: Volume, truth: Volume) -> Mapping[str, float]:
    return error(replace(estimate, data=estimate.data.nan_to_num()), truth)


def changes(estimate: Volume, truth: Volume) -> Mapping[str, float]:
    values = error(estimate, truth)
    estimate.data.zero_()
    return values


BROKEN: list[tuple[metric_laws.MetricLaw, Metric]] = [
    (metric_laws.law_perfect, offset),
    (metric_laws.law_worse_for_more_noise, saturated),
    (metric_laws.law_plain_numbers, tensors),
    (metric_laws.law_refuses_another_grid, crops),
    (metric_laws.law_never_flatters_nan, fills),
    (metric_laws.law_inputs_unchanged, changes),
]


@pytest.mark.parametrize(("law", "metric"), BROKEN)
def test_a_broken_metric_breaks_its_law_and_no_other(law: metric_laws.MetricLaw, metric: Metric) -> None:
    failed = failing(metric_laws.METRIC_LAWS, lambda: (MetricExample(metric, VOLUME, PERFECT),))
    assert failed == names(law)


def test_each_law_of_metrics_has_something_that_breaks_it() -> None:
    assert {law for law, _ in BROKEN} == set(metric_laws.METRIC_LAWS)
