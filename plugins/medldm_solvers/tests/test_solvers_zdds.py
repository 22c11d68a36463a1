"""The default solver against what its loop does to a Gaussian prior."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from medldm.errors import ComponentMissing, UsageError
from medldm.inference import Gaussian, Noise, PhaseFrozen, run
from medldm.operators import Diagonal, Identity, Space
from medldm.testing.closed_form import GaussianPrior
from medldm_solvers.noise_range import descent
from medldm_solvers.zdds import ZDDS

NOISE = Noise(5)
MEAN, STD = 0.3, 0.5


def space(*shape: int, dtype: torch.dtype = torch.float64) -> Space:
    return Space(("z", "y", "x"), shape, dtype)


def unmeasured(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Gaussian:
    """A measurement that says nothing."""
    image = space(*shape, dtype=dtype)
    return Gaussian(Diagonal(image, torch.zeros(shape, dtype=dtype)), torch.zeros(shape, dtype=dtype), 1.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_one_step_is_the_proximal_step_at_the_denoised_image(dtype):
    image = space(1, 2, 4, dtype=dtype)
    start = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(1, 1, 2, 4).to(dtype)
    d = torch.linspace(0.2, 2, 8, dtype=torch.float64).reshape(1, 2, 4).to(dtype) * (1j if dtype.is_complex else 1)
    y = torch.full((1, 2, 4), 0.7, dtype=dtype)
    sigma, lam, std = 0.8, 2.0, 0.3
    prior = GaussianPrior(image, MEAN, STD)
    solver = ZDDS(steps=1, lam=lam, temperature=1.0, sigma_max=sigma, cg_iterations=50)
    found = run(solver.solve(Gaussian(Diagonal(image, d), y, std), prior, start, NOISE)).estimate
    x = start + sigma * NOISE.like(start, "start", step=0)
    v = MEAN + STD**2 / (STD**2 + sigma**2) * (x - MEAN)
    w, data = lam / sigma**2, d.abs().square() / std**2
    torch.testing.assert_close(found, (d.conj() * y / std**2 + w * v) / (data + w), rtol=1e-4, atol=1e-5)


def test_with_the_spread_of_a_gaussian_prior_a_step_gives_the_posterior_mean():
    """Of the image given the noisy one and the data, in closed form: precisions add up, ``lam`` being one."""
    image = space(1, 2, 4)
    start = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(1, 1, 2, 4)
    sigma, std, y = 0.8, 0.3, torch.full((1, 2, 4), 0.7, dtype=torch.float64)
    prior = GaussianPrior(image, MEAN, STD)
    solver = ZDDS(steps=1, lam=1.0, spread=STD, temperature=1.0, sigma_max=sigma, cg_iterations=50)
    found = run(solver.solve(Gaussian(Identity(image), y, std), prior, start, NOISE)).estimate
    x = start + sigma * NOISE.like(start, "start", step=0)
    precisions = 1 / STD**2 + 1 / sigma**2 + 1 / std**2
    expected = (MEAN / STD**2 + x / sigma**2 + y / std**2) / precisions
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_without_data_and_fresh_noise_it_follows_the_probability_flow(dtype):
    """Its solution for a Gaussian: ``x - m`` shrinks in proportion to ``sqrt(s^2 + sigma^2)``."""
    shape, high = (2, 3, 4), 5.0
    prior = GaussianPrior(space(*shape, dtype=dtype), MEAN, STD)
    start = torch.full((1, *shape), 2.0, dtype=dtype)
    solver = ZDDS(steps=2000, zeta=0.0, temperature=1.0, sigma_max=high)
    found = run(solver.solve(unmeasured(shape, dtype), prior, start, NOISE)).estimate
    begun = start + high * NOISE.like(start, "start", step=0)
    expected = MEAN + STD / math.sqrt(STD**2 + high**2) * (begun - MEAN)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("zeta", [0.0, 0.3, 1.0])
def test_without_data_the_spread_of_the_samples_is_that_of_the_recursion(zeta, temperature):
    """``Var' = (c + sigma'/sigma sqrt(1 - zeta) (1 - c))^2 Var + sigma'^2 zeta T^2``, per real component."""
    shape = (4, 50, 100)
    prior = GaussianPrior(space(*shape, dtype=torch.complex128), MEAN, STD)
    solver = ZDDS(steps=12, zeta=zeta, temperature=temperature, sigma_max=3.0)
    start = torch.full((1, *shape), MEAN, dtype=torch.complex128)
    found = run(solver.solve(unmeasured(shape, torch.complex128), prior, start, NOISE)).estimate - MEAN
    levels = descent(prior, 12, low=None, high=3.0)
    variance = (temperature * 3.0) ** 2
    for sigma, after in pairwise(levels):
        c = STD**2 / (STD**2 + sigma**2)
        kept = c + after / sigma * math.sqrt(1 - zeta) * (1 - c)
        variance = kept**2 * variance + (after * temperature) ** 2 * zeta
    for part in (found.real, found.imag):
        # The variance of 20000 draws has a relative standard deviation of one per cent.
        assert float(part.square().mean()) == pytest.approx(variance, rel=0.04)


def test_many_steps_fit_the_measured_by_least_squares():
    """Why ``lam`` belongs to a number of steps: the mean of the posterior lies 0.6 away."""
    image = space(1, 1, 4)
    y = torch.full((1, 1, 4), 1.5, dtype=torch.float64)
    likelihood, prior = Gaussian(Identity(image), y, 0.5), GaussianPrior(image, MEAN, STD)
    start = torch.zeros(1, 1, 1, 4, dtype=torch.float64)
    away = {}
    for steps in (20, 2000):
        solver = ZDDS(steps=steps, lam=1.0, zeta=0.0, temperature=1.0, sigma_max=5.0)
        found = run(solver.solve(likelihood, prior, start, NOISE)).estimate
        away[steps] = float((found - y).abs().max())
    assert away[20] > 0.1
    assert away[2000] < 0.03


class TurnedNoise(Noise):
    """The same draws, turned by a phase."""

    def __init__(self, phase: torch.Tensor) -> None:
        super().__init__(NOISE.seed)
        object.__setattr__(self, "phase", phase)

    def like(self, x: torch.Tensor, purpose: str, *, step: int) -> torch.Tensor:
        return self.phase * super().like(x, purpose, step=step)


def test_a_complex_image_of_known_phase_takes_a_prior_of_magnitudes():
    """In the phase it is the recursion of real images; in quadrature the prior says zero."""
    shape = (1, 2, 3)
    angle = torch.arange(6, dtype=torch.float64).reshape(shape)
    phase = torch.polar(torch.ones_like(angle), angle)
    image = space(*shape, dtype=torch.complex128)
    likelihood = Gaussian(Identity(image), phase * (1.2 + 0.1j), 0.1)
    solver = ZDDS(steps=10, lam=1.0, zeta=0.0, temperature=1.0, sigma_max=20.0, cg_iterations=20)
    start = torch.zeros(1, *shape, dtype=torch.complex128)
    prior = PhaseFrozen(GaussianPrior(space(*shape), MEAN, STD), phase)
    found = run(solver.solve(likelihood, prior, start, TurnedNoise(phase))).estimate / phase
    complex_prior = GaussianPrior(image, MEAN, STD)
    turned = Gaussian(Identity(image), torch.full(shape, 1.2 + 0.1j, dtype=torch.complex128), 0.1)
    expected = run(solver.solve(turned, complex_prior, start, NOISE)).estimate
    torch.testing.assert_close(found.real, expected.real, rtol=1e-3, atol=1e-3)
    assert float(found.imag.abs().max()) < 0.1  # 0.1 is what the measurement says


def test_levels_are_the_priors_where_the_user_names_none():
    prior = GaussianPrior(space(1, 2, 2), sigma_min=0.01, sigma_max=30.0)
    levels = descent(prior, 5, low=None, high=None)
    assert levels[0] == pytest.approx(30) and levels[-2] == pytest.approx(0.01) and levels[-1] == 0


@pytest.mark.parametrize(("low", "high"), [(None, 31.0), (0.005, None), (2.0, 1.0)])
def test_levels_that_the_prior_does_not_know_are_refused(low, high):
    prior = GaussianPrior(space(1, 2, 2), sigma_min=0.01, sigma_max=30.0)
    with pytest.raises(UsageError) as refusal:
        descent(prior, 5, low=low, high=high)
    assert refusal.value.code == "E-SOL-21"


def test_latents_are_refused():
    prior = GaussianPrior(space(1, 2, 2))
    prior.latent = True
    likelihood, start = unmeasured((1, 2, 2)), torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    for unfit in (prior, None):
        with pytest.raises(ComponentMissing) as refusal:
            run(ZDDS().solve(likelihood, unfit, start, NOISE))
        assert refusal.value.code == "E-SOL-20"
