"""DiffPIR and DDS against what their loops do to a Gaussian prior, and where they are known to fail elsewhere."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch

from medldm.inference import Gaussian, Noise, WeightedGaussian, run
from medldm.inference.weighted_norm import MARGIN
from medldm.operators import Diagonal, LinearOperator, Space
from medldm.testing.closed_form import GaussianPrior
from medldm_solvers.dds import DDS
from medldm_solvers.diffpir import DiffPIR
from medldm_solvers.zdds import ZDDS

NOISE = Noise(11)
MEAN, STD = 0.3 - 0.2j, 0.5


def space(*shape: int) -> Space:
    return Space(("z", "y", "x"), shape, torch.complex128)


def measured(shape: tuple[int, ...], std: float, lowest: float = 0.3) -> tuple[Gaussian, torch.Tensor, torch.Tensor]:
    """Likelihood of a complex diagonal, what it says alone, and its weight."""
    i = torch.arange(shape[0] * shape[1] * shape[2], dtype=torch.float64).reshape(shape)
    d = torch.polar(torch.linspace(lowest, 2, i.numel(), dtype=torch.float64).reshape(shape), i)
    q = torch.polar(torch.ones_like(i), 0.4 * i)
    return Gaussian(Diagonal(space(*shape), d), d * q, std), q, d.abs().square() / std**2


def test_without_new_noise_diffpir_follows_the_flow_that_its_weight_stands_for():
    """``u = (q W + v / r^2) / (W + 1 / r^2)`` with ``r^2 = sigma^2 / lam`` and ``dx / dsigma = (x - u) / sigma``.

    The flow is linear in x: solved here by steps of its exact integrating factor, no Euler.
    """
    shape, lam, high, low = (1, 2, 3), 1.7, 2.0, 0.01
    likelihood, q, W = measured(shape, 0.2)
    prior = GaussianPrior(space(*shape), torch.tensor(MEAN), STD)
    start = torch.zeros(1, *shape, dtype=torch.complex128)
    solver = DiffPIR(steps=1500, zeta=0.0, lam=lam, sigma_max=high, sigma_min=low, cg_iterations=10)
    found = run(solver.solve(likelihood, prior, start, NOISE)).estimate

    x = start + high * NOISE.like(start, "start", step=0)
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)
    levels = high * (low / high) ** grid
    for a, b in pairwise(levels):
        sigma = (a * b).sqrt()
        c, K = STD**2 / (STD**2 + sigma**2), W / (W + lam / sigma**2)
        slope, aim = (1 - K) * c, (1 - K) * (1 - c) * MEAN + K * q  # u = slope x + aim
        fixed = aim / (1 - slope)
        x = fixed + (b / a) ** (1 - slope) * (x - fixed)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-2)


def test_the_right_weight_makes_diffpir_a_sampler_of_the_posterior():
    """Many voxels alike: with ``lam = 1`` and a broad prior, mean and variance are those of the posterior."""
    shape, std, broad = (4, 50, 100), 0.3, 20.0
    image = space(*shape)
    d = torch.full(shape, 0.8j, dtype=torch.complex128)
    likelihood = Gaussian(Diagonal(image, d), d * (1 - 1j), std)
    prior = GaussianPrior(image, torch.tensor(MEAN), broad)
    start = torch.full((1, *shape), 1 - 1j, dtype=torch.complex128)
    solver = DiffPIR(steps=200, zeta=0.0, lam=1.0, sigma_max=4.0, sigma_min=0.01)
    found = run(solver.solve(likelihood, prior, start, NOISE)).estimate
    precision = 0.8**2 / std**2 + 1 / broad**2
    expected = ((1 - 1j) * 0.8**2 / std**2 + MEAN / broad**2) / precision
    # Monte-Carlo error of 20000 draws; the flow ends at sigma_min and begins at 4.
    assert abs(complex(found.mean()) - expected) < 0.02
    for part in ((found - found.mean()).real, (found - found.mean()).imag):
        assert float(part.square().mean()) == pytest.approx(1 / precision, rel=0.06)


@pytest.mark.parametrize("solver", [DiffPIR(steps=6), DDS(steps=6), ZDDS(steps=6)])
@pytest.mark.parametrize("integrator", ["ddim", "dpm++2m", "gradient-estimation"])
def test_every_integrator_resumes(solver, integrator):
    shape = (2, 2, 3)
    likelihood, _, _ = measured(shape, 0.2)
    prior, start = GaussianPrior(space(*shape), torch.tensor(MEAN), STD), torch.zeros(2, *shape).to(torch.complex128)
    solver = type(solver)(steps=6, integrator=integrator)
    steps = list(solver.solve(likelihood, prior, start, NOISE))
    for at in (0, 3):
        rest = list(solver.solve(likelihood, prior, start, NOISE, steps[at].state))
        torch.testing.assert_close(rest[-1].estimate, steps[-1].estimate)


@pytest.mark.parametrize("solver", [DiffPIR, partial(ZDDS, temperature=1.0)], ids=["diffpir", "zdds"])
def test_an_integrator_of_second_order_follows_the_flow_in_fewer_steps(solver):
    shape = (1, 2, 3)
    likelihood, _, _ = measured(shape, 1e3)
    prior, start = GaussianPrior(space(*shape), torch.tensor(MEAN), STD), torch.zeros(1, *shape).to(torch.complex128)
    x = start + 2.0 * NOISE.like(start, "start", step=0)
    expected = MEAN + STD / (STD**2 + 4.0) ** 0.5 * (x - MEAN)
    errors = {}
    for name in ("ddim", "dpm++2m"):
        made = solver(steps=30, zeta=0.0, sigma_max=2.0, integrator=name)
        errors[name] = float((run(made.solve(likelihood, prior, start, NOISE)).estimate - expected).abs().max())
    assert errors["dpm++2m"] < 0.3 * errors["ddim"]


def test_dds_with_an_ideal_prior_and_exact_data_returns_the_image():
    """A known fault of the published script adds real data to a complex image, and ends at ``(1 + i) x``."""
    shape = (2, 4, 5)
    likelihood, q, _ = measured(shape, 0.05)
    prior = GaussianPrior(space(*shape), q, 1e-3)
    start = torch.zeros(1, *shape, dtype=torch.complex128)
    for gamma in (1.0, None):
        found = run(DDS(steps=10, gamma=gamma).solve(likelihood, prior, start, NOISE)).estimate
        torch.testing.assert_close(found[0], q, rtol=0, atol=5e-3)


def test_the_weight_of_dds_has_no_unit():
    """Operator, measurement and noise in another unit, weights in another scale: the same images."""
    shape = (1, 3, 4)
    likelihood, _, _ = measured(shape, 0.2)
    prior, start = GaussianPrior(space(*shape), torch.tensor(MEAN), STD), torch.zeros(1, *shape).to(torch.complex128)
    found = run(DDS(steps=5).solve(likelihood, prior, start, NOISE)).estimate
    other = Gaussian(100 * likelihood.operator, 100 * likelihood.measurement, 3.0)
    torch.testing.assert_close(
        run(DDS(steps=5).solve(other, prior, start, NOISE)).estimate, found, rtol=1e-3, atol=1e-3
    )


class Mixing(LinearOperator):
    """A dense complex matrix on the voxels of each slice: Hermitian products, no transposes."""

    def __init__(self, slices: int, rows: int, columns: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.matrix = torch.randn(rows, columns, dtype=torch.complex128, generator=generator)
        self.domain, self.codomain = space(slices, 1, columns), space(slices, 1, rows)

    def forward(self, x):
        return torch.einsum("ij,...j->...i", self.matrix, x)

    def adjoint(self, y):
        return torch.einsum("ij,...i->...j", self.matrix.conj(), y)


def test_one_step_of_dds_solves_its_complex_system_with_weights():
    A = Mixing(2, 5, 3)
    y = torch.polar(torch.ones(2, 1, 5), torch.arange(10.0).reshape(2, 1, 5)).to(torch.complex128)
    weights = torch.linspace(0, 2, 5, dtype=torch.float64)
    prior, start = GaussianPrior(A.domain, torch.tensor(MEAN), STD), torch.zeros(1, 2, 1, 3, dtype=torch.complex128)
    solver = DDS(steps=1, gamma=3.0, sigma_max=0.7, cg_iterations=8)
    found = run(solver.solve(WeightedGaussian(A, y, weights), prior, start, NOISE)).estimate
    x = start + 0.7 * NOISE.like(start, "start", step=0)
    v = MEAN + STD**2 / (STD**2 + 0.7**2) * (x - MEAN)
    M = A.matrix
    normal = M.conj().T @ (weights[:, None] * M)
    g = 3.0 / (MARGIN**2 * torch.linalg.eigvalsh(normal).max())
    rhs = v + g * torch.einsum("ij,...i->...j", M.conj(), weights * y)
    expected = torch.linalg.solve((torch.eye(3) + g * normal), rhs[..., None])[..., 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("solver", [partial(DiffPIR, zeta=1.0), partial(DDS, eta=1.0), partial(ZDDS, zeta=1.0)])
@pytest.mark.parametrize("integrator", ["dpm++2m", "gradient-estimation"])
def test_where_all_noise_is_new_no_direction_is_extrapolated(solver, integrator):
    """It would grow from step to step."""
    shape = (2, 2, 3)
    likelihood, _, _ = measured(shape, 0.2)
    prior, start = GaussianPrior(space(*shape), torch.tensor(MEAN), STD), torch.zeros(2, *shape).to(torch.complex128)
    plain, other = (
        run(solver(steps=30, integrator=name).solve(likelihood, prior, start, NOISE)).estimate
        for name in ("ddim", integrator)
    )
    torch.testing.assert_close(other, plain)
