"""The split Gibbs sampler against posteriors that are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medldm.errors import ComponentMissing
from medldm.inference import Gaussian, Noise, TransmissionPoisson, WeightedGaussian, run
from medldm.operators import Identity, LinearOperator, Space
from medldm.testing.closed_form import GaussianPrior
from medldm_solvers.split_gibbs import SplitGibbs

NOISE = Noise(17)
# Rows of a slice are alike, so every row is a draw.
DRAWS = 10000


class Pairs(LinearOperator):
    """A dense matrix on the voxels of each row."""

    def __init__(self, matrix: Tensor, lines: int) -> None:
        super().__init__()
        self.matrix = matrix
        rows, columns = matrix.shape
        self.domain = Space(("z", "y", "x"), (1, lines, columns), matrix.dtype)
        self.codomain = Space(("z", "y", "x"), (1, lines, rows), matrix.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ij,...j->...i", self.matrix, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.einsum("ij,...i->...j", self.matrix.conj(), y)


REAL = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.9, -0.7]], dtype=torch.float64)
COMPLEX = REAL + 1j * torch.tensor([[0.0, 0.5, 0.3], [0.4, 0.0, 0.2]], dtype=torch.float64)
WEIGHTS = torch.tensor([1 / 0.3**2, 1 / 0.15**2], dtype=torch.float64)
PRIOR_STD = torch.tensor([0.5, 0.3, 0.8], dtype=torch.float64)


def law_of(matrix: Tensor, y: Tensor, mean: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance that the chain at ``sigma`` leaves unchanged; the posterior for 0."""
    A, prior = matrix, torch.diag(PRIOR_STD**-2).to(matrix)
    noise = torch.diag(1 / WEIGHTS).to(A) + sigma**2 * A @ A.mH
    precision = A.mH @ torch.linalg.inv(noise) @ A + prior
    covariance = torch.linalg.inv(precision)
    return covariance @ (A.mH @ torch.linalg.inv(noise) @ y + prior @ mean), covariance


@pytest.mark.parametrize(("at", "hold"), [(0.0, 0), (0.4, 30)], ids=["to-the-posterior", "one-level"])
@pytest.mark.parametrize("matrix", [REAL, COMPLEX], ids=["real", "complex"])
def test_mean_and_covariance_of_the_samples_are_the_posteriors(matrix, at, hold):
    A = Pairs(matrix, DRAWS)
    y = torch.tensor([0.9, -0.4], dtype=matrix.dtype) * (1 + 0.5j if matrix.is_complex() else 1)
    m = torch.tensor([0.2, 0.1, -0.3], dtype=matrix.dtype)
    likelihood = WeightedGaussian(A, y.expand(1, DRAWS, 2), WEIGHTS)
    prior = GaussianPrior(A.domain, m, PRIOR_STD)
    start = torch.zeros(1, 1, DRAWS, 3, dtype=matrix.dtype)
    steps, high, low = (1, at, at) if at else (200, 1.0, 0.02)
    solver = SplitGibbs(steps=steps, hold=hold, inner=16, sigma_max=high, sigma_min=low)
    found = run(solver.solve(likelihood, prior, start, NOISE)).estimate.reshape(DRAWS, 3)
    mean, covariance = law_of(matrix, y, m, at)
    # Five standard deviations of the Monte-Carlo mean, and 4 per cent of the spread for the chain that lags behind.
    spread = covariance.diagonal().real.sqrt()
    assert bool(((found.mean(0) - mean).abs() < spread * (5 / DRAWS**0.5 + (0 if at else 0.04))).all())
    centred = found - found.mean(0)
    measured = centred.mT @ centred.conj() / (2 if matrix.is_complex() else 1) / DRAWS
    scale = spread[:, None] * spread
    assert float(((measured - covariance).abs() / scale).max()) < 0.05


def test_few_denoisings_keep_the_variance():
    """The draw from the prior on its own: ancestral sampling would keep half of the variance."""
    image = Space(("z", "y", "x"), (2, 100, 100), torch.float64)
    std, sigma = 0.5, 0.1
    prior = GaussianPrior(image, 0.3, std)
    x = torch.full((1, *image.shape), 0.9, dtype=torch.float64)
    found = SplitGibbs()._clean(prior, x, sigma, NOISE, 0)
    exact = std**2 * sigma**2 / (std**2 + sigma**2)
    assert float(found.var()) == pytest.approx(exact, rel=0.1)
    assert float(found.mean()) == pytest.approx(0.3 + std**2 / (std**2 + sigma**2) * 0.6, abs=0.005)


@pytest.mark.parametrize(("low", "high"), [(1.0, 10.0), (0.3, 0.3)], ids=["whole-range", "one-level"])
def test_it_goes_from_end_to_end_of_the_priors_range(low, high):
    """Roundings of ``(10^(1/7))^7`` are no reason to refuse, and at the lowest level no descent is left."""
    image = Space(("z", "y", "x"), (1, 4, 4), torch.float64)
    prior = GaussianPrior(image, sigma_min=low, sigma_max=high)
    likelihood = Gaussian(Identity(image), torch.full(image.shape, 2.0, dtype=torch.float64), 0.05)
    solver = SplitGibbs(steps=4, hold=2, sigma_max=high, sigma_min=low)
    found = run(solver.solve(likelihood, prior, torch.zeros(1, *image.shape, dtype=torch.float64), NOISE)).estimate
    assert bool(torch.isfinite(found).all())


def test_one_step_is_a_chain_at_the_last_level():
    image = Space(("z", "y", "x"), (2, 40, 60), torch.float64)
    mean, std, noise_std, level = 0.3, 0.5, 0.05, 0.03
    likelihood = Gaussian(Identity(image), torch.full(image.shape, 2.0, dtype=torch.float64), noise_std)
    start = torch.zeros(1, *image.shape, dtype=torch.float64)
    solver = SplitGibbs(steps=1, hold=60, sigma_min=level)
    *_, last = solver.solve(likelihood, GaussianPrior(image, mean, std), start, NOISE)
    assert (last.total, last.sigma) == (61, level)
    data = noise_std**2 + level**2
    precision = 1 / std**2 + 1 / data
    assert float(last.estimate.mean()) == pytest.approx((mean / std**2 + 2.0 / data) / precision, abs=0.01)
    assert float(last.estimate.std()) == pytest.approx(precision**-0.5, rel=0.05)


def test_counts_are_sampled_by_their_surrogate():
    image = Space(("z", "y", "x"), (2, 40, 60), torch.float64)
    counts = torch.full(image.shape, 2000.0, dtype=torch.float64)
    likelihood = TransmissionPoisson(Identity(image), counts, 5000.0)
    prior = GaussianPrior(image, 0.9, 0.5)
    start = torch.full((1, *image.shape), 0.9, dtype=torch.float64)
    found = run(
        SplitGibbs(steps=20, hold=20, inner=12, sigma_min=0.005).solve(likelihood, prior, start, NOISE)
    ).estimate
    assert float(found.var()) == pytest.approx(1 / (2000 + 1 / 0.5**2), rel=0.15)
    assert float(found.mean()) == pytest.approx(math.log(2.5), abs=0.005)


class Opaque:
    """A likelihood that cannot be perturbed."""


def test_a_likelihood_without_perturbation_is_refused():
    image = Space(("z", "y", "x"), (1, 2, 2), torch.float64)
    with pytest.raises(ComponentMissing) as refusal:
        next(SplitGibbs().solve(Opaque(), GaussianPrior(image), torch.zeros(1, 1, 2, 2), NOISE))
    assert refusal.value.code == "E-SOL-22"


@pytest.mark.parametrize("matrix", [REAL, COMPLEX], ids=["real", "complex"])
def test_the_perturbation_has_the_covariance_of_the_data_term(matrix):
    """Real and imaginary part each: the real covariance of ``(Re p, Im p)`` is the real form of ``A^H W A``."""
    lines = 20000
    A = Pairs(matrix, lines)
    for likelihood, weights in (
        (WeightedGaussian(A, A.codomain.zeros(device="cpu"), WEIGHTS), WEIGHTS),
        (Gaussian(A, A.codomain.zeros(device="cpu"), 0.2), torch.full((2,), 25.0, dtype=torch.float64)),
    ):
        draw = NOISE.like(A.codomain.zeros(1, device="cpu"), "test", step=0)
        p = likelihood.perturbation(draw)[0, 0]
        normal = matrix.mH @ (weights[:, None] * matrix)
        if matrix.is_complex():
            p = torch.cat((p.real, p.imag), -1)
            normal = torch.cat((torch.cat((normal.real, -normal.imag), 1), torch.cat((normal.imag, normal.real), 1)))
        found = p.mT @ p / lines
        scale = normal.diagonal().sqrt()[:, None] * normal.diagonal().sqrt()
        assert float(((found - normal).abs() / scale).max()) < 0.04
