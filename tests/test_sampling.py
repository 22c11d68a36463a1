"""Samples one after another: the same whatever the grouping, resumed from anywhere, their statistics exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from medldm.errors import GateFailed
from medldm.inference import CorrelatedNoise, DiffusionPrior, Gaussian, Likelihood, Noise, SliceStack, Step
from medldm.operators import Identity, Space
from medldm.pipeline.ensemble import Ensemble
from medldm.pipeline.problem import Problem
from medldm.pipeline.sampling import Sampling, too_much_alike
from medldm.testing.closed_form import GaussianPrior

SHAPE = (3, 5, 4)
SPACE = Space(("z", "y", "x"), SHAPE)
COMPLEX = Space(("z", "y", "x"), SHAPE, torch.complex64)
STEPS = 3


@dataclass(frozen=True)
class Walk:
    """A random walk: each step adds noise."""

    exact: ClassVar[bool] = True
    breaks: bool = False
    grows: float = 1.0

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        x, first = (state["x"], int(state["index"]) + 1) if state else (start, 0)
        for k in range(first, STEPS):
            x = x + noise.like(x, "walk", step=k)
            estimate = x * (torch.nan if self.breaks else self.grows)
            yield Step(k, STEPS, 1.0, x, estimate, {"x": x, "index": torch.tensor(k)})


def problem(space: Space = SPACE, noise: Noise | None = None) -> Problem:
    y = torch.ones(SHAPE, dtype=space.dtype)
    likelihood = Gaussian(Identity(space), y, 1.0)
    start = torch.full((1, *SHAPE), 2, dtype=space.dtype)
    return Problem(likelihood, GaussianPrior(space), start, noise or Noise(3, "case"))


def drawn(samples: int, at_once: int = 1, **options: Any) -> Ensemble:
    sampling = Sampling(Walk(), problem(**options), samples, at_once)
    list(sampling.steps())
    return sampling.drawn


def draws(samples: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """What the walk gives, sample by sample."""
    x = torch.full((samples, *SHAPE), 2, dtype=dtype)
    for k in range(STEPS):
        x = x + Noise(3, "case").like(x, "walk", step=k)
    return x


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_mean_and_spread_are_those_of_all_samples(at_once: int) -> None:
    found, each = drawn(7, at_once), draws(7)
    torch.testing.assert_close(found.mean, each.mean(0))
    torch.testing.assert_close(found.spread, each.std(0))
    torch.testing.assert_close(found.first, each[0])
    torch.testing.assert_close(found.chi, (each - 1).square().mean((1, 2, 3)))
    torch.testing.assert_close(found.slice_chi, (each - 1).square().mean((2, 3)))
    assert found.count == 7


def test_fewer_samples_are_the_first_of_many() -> None:
    two, four = drawn(2, 2), drawn(4, 3)
    torch.testing.assert_close(two.chi, four.chi[:2])
    torch.testing.assert_close(two.first, four.first)
    assert float((four.chi[2:] - four.chi[:2]).abs().max()) > 1e-3


def test_magnitudes_have_the_spread_not_the_phases() -> None:
    found, each = drawn(5, 2, space=COMPLEX), draws(5, torch.complex64)
    torch.testing.assert_close(found.mean, each.abs().mean(0))
    torch.testing.assert_close(found.spread, each.abs().std(0))
    torch.testing.assert_close(found.estimate, each.mean(0))


def test_correlated_noise_belongs_to_its_sample_too() -> None:
    noise = CorrelatedNoise.of(Noise(3, "case"), 9.0, SliceStack(4, 1, (0.0, 3.0, 6.0)))
    one, three = drawn(3, 1, noise=noise), drawn(3, 3, noise=noise)
    torch.testing.assert_close(one.chi, three.chi)
    torch.testing.assert_close(one.spread, three.spread)
    assert float(one.spread.min()) > 0
    assert noise.from_sample(2).first_sample == 2
    assert CorrelatedNoise.of(noise.from_sample(2), 9.0, *noise.stacks).first_sample == 2


@pytest.mark.parametrize("at", range(3 * STEPS))
def test_it_goes_on_from_any_step(at: int) -> None:
    whole = Sampling(Walk(), problem(), 5, 2)
    saved = [{name: tensor.clone() for name, tensor in step.state.items()} for step in whole.steps()]
    # Another grouping would be chosen now; a group under way keeps its own.
    again = Sampling(Walk(), problem(), 5, 4)
    rest = list(again.steps(saved[at]))
    assert rest[-1].index + 1 == rest[-1].total
    for name, tensor in whole.drawn.state().items():
        torch.testing.assert_close(again.drawn.state()[name], tensor)


def test_steps_count_samples() -> None:
    steps = list(Sampling(Walk(), problem(), 5, 2).steps())
    assert [step.index for step in steps] == [1, 3, 5, 7, 9, 11, 12, 13, 14]
    assert {step.total for step in steps} == {15}
    single = list(Sampling(Walk(), problem()).steps())
    assert [(step.index, step.total) for step in single] == [(0, 3), (1, 3), (2, 3)]


def test_a_sample_that_diverged_is_refused() -> None:
    with pytest.raises(GateFailed, match="E-GATE-01"):
        list(Sampling(Walk(breaks=True), problem(), 2).steps())


def test_a_finite_sample_whose_misfit_is_no_number_is_refused() -> None:
    """``run.json`` cannot hold an infinite chi, and would fail after the whole run."""
    with pytest.raises(GateFailed, match=r"E-GATE-01.*its misfit to the measurement, chi, is inf") as caught:
        list(Sampling(Walk(grows=1e25), problem(), 2, 2).steps())
    assert caught.value.exit_code == 6


def test_one_sample_has_no_spread() -> None:
    with pytest.raises(ValueError, match="no spread"):
        _ = drawn(1).spread


def test_only_as_many_samples_are_held_as_asked() -> None:
    sizes = [len(step.sample) for step in Sampling(Walk(), problem(), 5, 2).steps()]
    assert sizes == [2] * STEPS + [2] * STEPS + [1] * STEPS


def test_samples_of_little_noise_are_told() -> None:
    @dataclass(frozen=True)
    class Cool(Walk):
        temperature: float = 0.5

    class Seeks(Walk):
        draws_samples = False

    assert "draws no samples" in too_much_alike(Seeks(), 2) and too_much_alike(Seeks(), 1) == ""
    assert "temperature 0.5" in too_much_alike(Cool(), 2)
    assert too_much_alike(Cool(), 1) == too_much_alike(Cool(temperature=1.0), 2) == too_much_alike(Walk(), 2) == ""
