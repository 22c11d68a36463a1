"""The norm of a weighted operator, which the step of a gradient method goes by."""

from __future__ import annotations

import pytest
import torch

from medldm.inference import Gaussian, Noise, spectral_norm, weighted_norm
from medldm.inference.weighted_norm import MARGIN
from medldm.operators import Diagonal, Space

CPU = torch.device("cpu")
SPACE = Space(("z", "y", "x"), (2, 3, 5), torch.complex64)
# Far apart, so that the power method is done after its thirty iterations.
GAINS = torch.polar(torch.logspace(0, -3, SPACE.size), torch.linspace(0, 3, SPACE.size)).reshape(SPACE.shape)
A = Diagonal(SPACE, 4 * GAINS)


@pytest.mark.parametrize("seed", range(3))
def test_of_a_diagonal_it_is_the_largest_weighted_gain(seed: int) -> None:
    weights = torch.linspace(1, 9, SPACE.size).reshape(SPACE.shape)
    largest = float((weights.sqrt() * 4 * GAINS.abs()).max())
    found = weighted_norm(A, weights, Noise(seed), CPU)
    assert found == pytest.approx(MARGIN * largest, rel=1e-3)
    assert found >= largest


@pytest.mark.parametrize("shape", [(), (1, 1, 1), SPACE.shape])
def test_equal_weights_are_a_factor(shape: tuple[int, ...]) -> None:
    found = weighted_norm(A, torch.full(shape, 25.0), Noise(0), CPU)
    assert found == pytest.approx(5 * spectral_norm(A, Noise(0), CPU))
    assert found == pytest.approx(MARGIN * 5 * 4, rel=1e-3)


def test_samples_that_do_not_count_leave_an_upper_bound() -> None:
    weights = torch.full(SPACE.shape, 25.0)
    weights[0, 0, 0] = 0
    assert weighted_norm(A, weights, Noise(0), CPU) >= 5 * 4 * float(GAINS.abs().flatten()[1])


def test_a_step_of_one_over_its_square_descends_and_one_of_three_does_not() -> None:
    likelihood = Gaussian(A, A(torch.ones(SPACE.shape, dtype=torch.complex64)), 0.2)
    step = weighted_norm(likelihood.operator, likelihood.weights, Noise(0), CPU) ** -2
    u = torch.zeros(1, *SPACE.shape, dtype=torch.complex64)
    before = likelihood.energy(u)
    assert bool(likelihood.energy(u - step * likelihood.gradient(u)) < before)
    assert bool(likelihood.energy(u - 3 * step * likelihood.gradient(u)) > before)


def test_it_depends_on_the_seed_alone_not_on_the_sample() -> None:
    noise = Noise(3, "scan")
    assert spectral_norm(A, noise, CPU) == spectral_norm(A, noise.from_sample(5), CPU)
