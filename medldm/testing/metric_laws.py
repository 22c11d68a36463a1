"""Laws of metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from medldm.data import Grid, Volume
from medldm.errors import MedldmError
from medldm.testing.examples import MetricExample
from medldm.testing.law import require

MetricLaw = Callable[[MetricExample], None]


def law_perfect(example: MetricExample) -> None:
    """An image equal to the truth gets the perfect value."""
    values = example.metric(_copy(example.truth), example.truth)
    for name, perfect in example.perfect.items():
        require(name in values, f"there is no {name!r} among {sorted(values)}")
        value = values[name]
        same = value == perfect or math.isclose(value, perfect, rel_tol=1e-6, abs_tol=1e-6)
        require(same, f"{name} of the truth itself is {value:.6g}, perfect is {perfect:.6g}")


def law_worse_for_more_noise(example: MetricExample) -> None:
    """White noise moves every value away from the perfect one, more noise further."""
    little, much = (example.metric(_noisy(example.truth, share), example.truth) for share in (0.02, 0.2))
    for name, perfect in example.perfect.items():
        require(math.isfinite(little[name]) and math.isfinite(much[name]), f"{name} of a noisy image is not finite")
        near, far = _distance(little[name], perfect), _distance(much[name], perfect)
        require(near < far, f"{name} is {little[name]:.4g} with 2 % noise and {much[name]:.4g} with 20 %")
        if math.isfinite(perfect):
            require(near > 0, f"{name} does not notice 2 % noise")


def law_plain_numbers(example: MetricExample) -> None:
    """Values are Python floats, so that they can be written as JSON."""
    for name, value in example.metric(_noisy(example.truth, 0.1), example.truth).items():
        require(isinstance(value, float), f"{name} is a {type(value).__name__}, not a float")


def law_refuses_another_grid(example: MetricExample) -> None:
    """An image on another grid is refused with a code, not resampled or broadcast in silence."""
    z, y, x = example.truth.grid.shape
    other = Grid((z, y, x + 1), example.truth.grid.affine)
    data = torch.nn.functional.pad(example.truth.data, (0, 1))
    try:
        example.metric(replace(example.truth, data=data, grid=other), example.truth)
    except MedldmError:
        return
    raise AssertionError(f"an image of shape {other.shape} was compared with a truth of {example.truth.grid.shape}")


def law_never_flatters_nan(example: MetricExample) -> None:
    """An image with a NaN is refused, or its value is not a finite number."""
    estimate = _copy(example.truth)
    estimate.data.view(-1)[estimate.data.numel() // 2] = float("nan")
    try:
        values = example.metric(estimate, example.truth)
    except MedldmError:
        return
    finite = [name for name in example.perfect if math.isfinite(values[name])]
    require(not finite, f"an image with a NaN gets finite values: {finite}")


def law_inputs_unchanged(example: MetricExample) -> None:
    """Neither image is changed."""
    estimate = _noisy(example.truth, 0.1)
    before = estimate.data.clone(), example.truth.data.clone()
    example.metric(estimate, example.truth)
    require(torch.equal(before[0], estimate.data), "the metric changed the estimate")
    require(torch.equal(before[1], example.truth.data), "the metric changed the truth")


def _copy(volume: Volume) -> Volume:
    return replace(volume, data=volume.data.clone())


def _noisy(volume: Volume, share: float) -> Volume:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(volume.data.shape, generator=generator, dtype=volume.data.dtype)
    return replace(volume, data=volume.data + share * volume.data.std() * noise)


def _distance(value: float, perfect: float) -> float:
    return abs(value - perfect) if math.isfinite(perfect) else -value if perfect > 0 else value


METRIC_LAWS: tuple[MetricLaw, ...] = (
    law_perfect,
    law_worse_for_more_noise,
    law_plain_numbers,
    law_refuses_another_grid,
    law_never_flatters_nan,
    law_inputs_unchanged,
)
