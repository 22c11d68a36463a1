"""Integrators on the probability flow of a Gaussian, which is known: orders, new noise, memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from medldm.inference import Noise
from medldm.inference.integrators import (
    DDIM,
    DPMpp2M,
    GradientEstimation,
    Integrator,
    IntegratorName,
    advance,
    integrator,
    share_of_eta,
)
from medldm.inference.schedule import noise_levels
from medldm.testing.closed_form import gaussian_mean

MEAN, STD = 0.3, 0.5
HIGH, LOW = 5.0, 0.05


def flow(x: Tensor, sigma: float, after: float) -> Tensor:
    """``(x - m) / sqrt(c^2 + sigma^2)`` stays as it is."""
    return MEAN + (x - MEAN) * math.sqrt((STD**2 + after**2) / (STD**2 + sigma**2))


def integrate(extrapolate: Integrator, levels: Sequence[float], x: Tensor) -> Tensor:
    memory = extrapolate.nothing(x)
    for k in range(len(levels) - 1):
        clean = gaussian_mean(x, levels[k], MEAN, STD)
        target, memory = extrapolate(levels, k, x, clean, memory)
        x = advance(x, target, levels[k], levels[k + 1])
    return x


def error(extrapolate: Integrator, levels: Sequence[float]) -> float:
    x = torch.tensor([2.0, -7.0, 1.0], dtype=torch.float64)
    return float((integrate(extrapolate, levels, x) - flow(x, levels[0], levels[-1])).abs().max())


def even(steps: int) -> list[float]:
    return torch.linspace(HIGH, LOW, steps + 1, dtype=torch.float64).tolist()


def power_law(steps: int) -> list[float]:
    return noise_levels(steps + 1, LOW, HIGH)[:-1].tolist()


@pytest.mark.parametrize(
    ("extrapolate", "levels", "order"),
    [
        (DDIM(), power_law, 1),
        (DPMpp2M(), power_law, 2),
        (GradientEstimation(), power_law, 1),
        (DDIM(), even, 1),
        (GradientEstimation(), even, 1),
        (GradientEstimation(1.5), even, 2),
    ],
)
def test_the_order_of_convergence(extrapolate: Integrator, levels, order: int) -> None:
    coarse, fine = error(extrapolate, levels(400)), error(extrapolate, levels(800))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.12)


def test_on_even_steps_the_gradient_estimate_errs_to_the_other_side() -> None:
    x, levels = torch.tensor([2.0], dtype=torch.float64), even(2000)
    exact = flow(x, HIGH, LOW)
    euler, estimated = (float(integrate(e, levels, x) - exact) for e in (DDIM(), GradientEstimation()))
    assert estimated == pytest.approx(-euler, rel=0.05)


def test_few_steps_gain_by_memory() -> None:
    plain = error(DDIM(), power_law(12))
    assert error(DPMpp2M(), power_law(12)) < plain / 3


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "gradient-estimation"])
def test_the_last_step_ends_at_the_denoised_image(name: IntegratorName) -> None:
    extrapolate, levels = integrator(name), [1.0, 0.5, 0.0]
    x = torch.tensor([2.0], dtype=torch.float64)
    memory = extrapolate.nothing(x)
    for k in range(2):
        clean = gaussian_mean(x, levels[k], MEAN, STD)
        target, memory = extrapolate(levels, k, x, clean, memory)
        x = advance(x, target, levels[k], levels[k + 1])
    assert torch.equal(x, clean)


def test_gradient_estimation_is_the_papers_formula() -> None:
    x, clean, before = (
        torch.randn(4, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in range(3)
    )
    levels = [3.0, 2.0, 1.2]
    target, memory = GradientEstimation()(levels, 1, x, clean, before)
    now = (x - clean) / 2.0
    torch.testing.assert_close(advance(x, target, 2.0, 1.2), x + (1.2 - 2.0) * (2 * now - before))
    torch.testing.assert_close(memory, now)


def test_the_second_multistep_is_the_papers_formula() -> None:
    x, clean, before = (
        torch.randn(4, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in range(3)
    )
    target, memory = DPMpp2M()([3.0, 2.0, 1.2], 1, x, clean, before)
    h, last = math.log(2.0 / 1.2), math.log(3.0 / 2.0)
    D = (1 + h / (2 * last)) * clean - h / (2 * last) * before
    torch.testing.assert_close(advance(x, target, 2.0, 1.2), 1.2 / 2.0 * x - math.expm1(-h) * D)
    assert memory is clean


@pytest.mark.parametrize("levels", [[2.0, 2.0, 2.0], [2.0, 2.0, 1.0], [3.0, 2.0, 2.0]])
@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "gradient-estimation"])
def test_a_level_may_be_there_twice(name: IntegratorName, levels: list[float]) -> None:
    x, clean, before = (torch.tensor([value], dtype=torch.float64) for value in (2.0, 0.5, 0.4))
    target, _ = integrator(name)(levels, 1, x, clean, before)
    assert bool(torch.isfinite(target).all())
    if name == "dpm++2m":
        assert torch.equal(target, clean), "nothing to extrapolate from, or nowhere to go"


def test_new_noise_keeps_the_level() -> None:
    """Whatever the share, the noise of the next state has its level: var = sd of x0 and sigma^2 after each step."""
    noise = Noise(3)
    n = torch.zeros(1, 1, 300, 400, dtype=torch.float64)
    image = MEAN + STD * noise.like(n, "image", step=0)
    x = image + 2.0 * noise.like(n, "start", step=0)
    for zeta in (0.0, 0.4, 1.0):
        # The direction of a true image is white noise.
        after = advance(x, image, 2.0, 0.7, zeta, noise.like(n, "renoise", step=0)) - image
        assert float(after.std()) == pytest.approx(0.7, rel=0.01)
        kept = float((after * (x - image)).mean()) / (2.0 * 0.7)
        assert kept == pytest.approx(math.sqrt(1 - zeta), abs=0.01)


def test_ancestral_sampling_is_the_posterior_of_the_next_state() -> None:
    """eta = 1: x_next given x and x0 has mean x0 + (s'/s)^2 (x - x0) and variance s'^2 (1 - s'^2 / s^2)."""
    s, after = 2.0, 0.7
    zeta = share_of_eta(1.0, s, after)
    assert zeta * after**2 == pytest.approx(after**2 * (1 - after**2 / s**2))
    x, image = torch.tensor([3.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    mean = advance(x, image, s, after, zeta, torch.zeros_like(x))
    assert float(mean) == pytest.approx(1 + (after / s) ** 2 * 2)
    assert share_of_eta(0.0, s, after) == 0


def test_the_shift_leaves_the_direction() -> None:
    x, target, shift = torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([0.25])
    assert float(advance(x, target, 2.0, 1.0, shift=shift)) == pytest.approx(0.25 + float(advance(x, target, 2.0, 1.0)))
    assert float(advance(x, target, 2.0, 0.0, 0.5, shift=shift)) == pytest.approx(1.25)
    with pytest.raises(ValueError, match="no noise"):
        advance(x, target, 2.0, 1.0, 0.5)


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "gradient-estimation"])
def test_the_memory_is_a_tensor_from_which_a_run_goes_on(name: IntegratorName) -> None:
    extrapolate, levels = integrator(name), power_law(6)
    start = torch.tensor([2.0 + 1j, -1.0], dtype=torch.complex128)
    whole = integrate(extrapolate, levels, start)
    x, memory = start, extrapolate.nothing(start)
    for k in range(6):
        saved = x.clone(), memory.clone()
        target, memory = extrapolate(levels, k, saved[0], gaussian_mean(saved[0], levels[k], MEAN, STD), saved[1])
        x = advance(saved[0], target, levels[k], levels[k + 1])
    assert torch.equal(x, whole)


@pytest.mark.parametrize("name", ["dpm++2m", "gradient-estimation"])
def test_new_noise_is_not_extrapolated(name: IntegratorName) -> None:
    """With all noise new it is DDIM; in between the state keeps the law of a diffusion, whose noise has its level."""
    n = torch.zeros(1, 1, 60, 70, dtype=torch.float64)
    levels, noise = noise_levels(40, 0.02, 40.0).tolist(), Noise(5)

    def sampled(extrapolate: Integrator, zeta: float) -> Tensor:
        x, memory = MEAN + levels[0] * noise.like(n, "start", step=0), extrapolate.nothing(n)
        for k in range(40):
            clean = gaussian_mean(x, levels[k], MEAN, STD)
            target, memory = extrapolate(levels, k, x, clean, memory)
            x = advance(x, target, levels[k], levels[k + 1], zeta, noise.like(n, "renoise", step=k))
        return x

    assert torch.equal(sampled(integrator(name, 1.0), 1.0), sampled(DDIM(), 1.0))
    for zeta in (0.0, 0.3, 0.7):
        assert float(sampled(integrator(name, zeta), zeta).std()) == pytest.approx(
            float(sampled(DDIM(), zeta).std()), rel=0.15
        )
    if name == "gradient-estimation":
        assert float(sampled(integrator(name), 1.0).std()) > 10, "unscaled it runs away"
