"""DPS and RED-diff: the solvers that go along gradients."""

from __future__ import annotations

import pytest
import torch

from medldm.inference import Denoiser, Gaussian, Noise, PixelPrior, run
from medldm.inference.parametrization import edm
from medldm.inference.weighted_norm import MARGIN
from medldm.operators import Diagonal, Identity, Space
from medldm.testing.closed_form import GaussianNetwork, GaussianPrior
from medldm_solvers.dps import DPS, _misfit
from medldm_solvers.red_diff import REDDiff

NOISE = Noise(23)
MEAN, STD = 0.3, 0.5


def space(*shape: int, dtype: torch.dtype = torch.float64) -> Space:
    return Space(("z", "y", "x"), shape, dtype)


def measured(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, unit: float = 1.0) -> Gaussian:
    i = torch.arange(shape[0] * shape[1] * shape[2], dtype=torch.float64).reshape(shape)
    d = torch.polar(0.5 + 0.1 * i / i.numel(), i) if dtype.is_complex else 0.5 + torch.cos(i) ** 2
    return Gaussian(Diagonal(space(*shape, dtype=dtype), unit * d), unit * d * torch.cos(0.3 * i), unit * 0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_gradient_of_the_misfit_is_that_of_differences(dtype):
    """Along real and imaginary direction, through the denoiser."""
    shape, sigma = (1, 2, 3), 0.4
    likelihood, prior = measured(shape, dtype), GaussianPrior(space(*shape, dtype=dtype), MEAN, STD)
    x = NOISE.like(torch.zeros(2, *shape, dtype=dtype), "x", step=0)
    clean, gradient = _misfit(likelihood, prior, x, sigma)
    level = torch.full((2,), sigma, dtype=torch.float64)
    torch.testing.assert_close(clean, prior.denoise(x, level))
    step = 1e-6
    for direction in (1, 1j) if dtype.is_complex else (1,):
        moved = x.clone()
        moved[1, 0, 1, 2] += step * direction
        norms = [(2 * likelihood.energy(prior.denoise(at, level))).sqrt() for at in (x, moved)]
        slope = (norms[1] - norms[0]) / step
        assert float(slope[0]) == pytest.approx(0, abs=1e-9)
        expected = (gradient[1, 0, 1, 2] * torch.tensor(direction, dtype=dtype).conj()).real
        assert float(slope[1]) == pytest.approx(float(expected), rel=1e-4)


def test_it_goes_through_a_network_and_keeps_none_of_its_graph():
    network = GaussianNetwork.edm(MEAN, STD)
    prior = PixelPrior(Denoiser(network, edm(0.5, 0.002, 80.0)), (2, 3, 4), multiple=4)
    likelihood = Gaussian(Identity(space(2, 3, 4, dtype=torch.float32)), torch.ones(2, 3, 4), 0.1)
    start = torch.zeros(1, 2, 3, 4)
    plain = GaussianPrior(space(2, 3, 4, dtype=torch.float32), MEAN, STD)
    found = run(DPS(steps=5).solve(likelihood, prior, start, NOISE)).estimate
    expected = run(DPS(steps=5).solve(likelihood, plain, start, NOISE)).estimate
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_perfect_fit_has_no_direction_and_gives_no_nan():
    image = space(1, 2, 2)
    prior = GaussianPrior(image, 1.0, 1e-9)
    likelihood = Gaussian(Identity(image), torch.ones(1, 2, 2, dtype=torch.float64), 0.1)
    found = run(DPS(steps=3).solve(likelihood, prior, torch.ones(1, 1, 2, 2, dtype=torch.float64), NOISE)).estimate
    torch.testing.assert_close(found, torch.ones_like(found))


@pytest.mark.parametrize("solver", [DPS(steps=5), REDDiff(steps=5)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_unit_of_the_measurement_does_not_matter(solver, dtype):
    shape = (2, 2, 3)
    prior, start = GaussianPrior(space(*shape, dtype=dtype), MEAN, STD), torch.zeros(1, *shape, dtype=dtype)
    one, other = (run(solver.solve(measured(shape, dtype, unit), prior, start, NOISE)).estimate for unit in (1.0, 50.0))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


class SameNoise(Noise):
    """The draws of the first slice in every slice."""

    def like(self, x: torch.Tensor, purpose: str, *, step: int) -> torch.Tensor:
        return super().like(x[:, :1], purpose, step=step).expand_as(x).clone()


def test_a_step_of_dps_is_as_long_in_a_stack_as_in_a_slice():
    """Alike slices, alike noise: each ends as it would on its own."""
    prior = [GaussianPrior(space(n, 2, 3), MEAN, STD) for n in (1, 6)]
    alone = measured((1, 2, 3))
    stack = Gaussian(
        Diagonal(space(6, 2, 3), alone.operator(torch.ones(1, 2, 3, dtype=torch.float64)).expand(6, 2, 3).clone()),
        alone.measurement.expand(6, 2, 3).clone(),
        0.1,
    )
    noise = SameNoise(3)
    start = torch.zeros(1, 6, 2, 3, dtype=torch.float64)
    one = run(DPS(steps=6).solve(alone, prior[0], start[:, :1], noise)).estimate
    many = run(DPS(steps=6).solve(stack, prior[1], start, noise)).estimate
    # The power method begins at other noise.
    torch.testing.assert_close(many, one.expand_as(many), rtol=0, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_red_diff_settles_where_data_and_residual_noise_balance(dtype):
    """At one level: ``g (mu - q) + lam sigma^2 / (s^2 + sigma^2) (mu - m) = 0``, ``g`` the data's share, here 1."""
    shape, sigma, lam = (1, 20, 20), 0.7, 0.8
    image = space(*shape, dtype=dtype)
    q = 1.5 - (0.5j if dtype.is_complex else 0)
    likelihood = Gaussian(Identity(image), torch.full(shape, q, dtype=dtype), 0.3)
    prior, start = GaussianPrior(image, MEAN, STD), torch.zeros(1, *shape, dtype=dtype)
    solver = REDDiff(steps=1500, lam=lam, rate=0.004, sigma_max=sigma, sigma_min=sigma)
    found = run(solver.solve(likelihood, prior, start, NOISE)).estimate.mean()
    data, pull = 1 / MARGIN**2, lam * sigma**2 / (STD**2 + sigma**2)
    assert abs(complex(found) - (data * q + pull * MEAN) / (data + pull)) < 0.01
