"""FBP, SART, CGLS and CG-SENSE against dense solutions."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from medldm.errors import ComponentMissing, UsageError
from medldm.inference import Gaussian, Noise, Step, TransmissionPoisson, WeightedGaussian, run
from medldm.operators import Identity, LinearOperator, Space
from medldm_solvers.cg_sense import CGSense
from medldm_solvers.cgls import CGLS
from medldm_solvers.examples import positive_image, rays
from medldm_solvers.fbp import FilteredBackProjection
from medldm_solvers.image_scale import image_scale
from medldm_solvers.l1_wavelet import L1Wavelet
from medldm_solvers.sart import SART

NOISE = Noise(3)


class Dense(LinearOperator):
    """``(z, y, x) -> (ray,)``, more rays than voxels."""

    def __init__(self, dtype: torch.dtype, rows: int = 17) -> None:
        super().__init__()
        self.domain, self.codomain = Space(("z", "y", "x"), (1, 3, 4), dtype), Space(("ray",), (rows,), dtype)
        matrix = Space(("ray", "voxel"), (rows, 12), dtype).randn(generator=torch.Generator().manual_seed(0))
        self.register_buffer("matrix", matrix)

    def forward(self, x):
        return torch.einsum("rn,...n->...r", self.matrix, x.flatten(-3))

    def adjoint(self, y):
        return torch.einsum("rn,...r->...n", self.matrix.conj(), y).unflatten(-1, (1, 3, 4))


def measured(A: LinearOperator, seed: int = 1) -> torch.Tensor:
    return A.codomain.randn(generator=torch.Generator().manual_seed(seed))


def solve(solver, likelihood, start=None) -> torch.Tensor:
    start = likelihood.operator.domain.zeros(1) if start is None else start
    return run(solver.solve(likelihood, None, start, NOISE)).estimate


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("weighted", [False, True])
def test_cgls_is_least_squares_after_as_many_steps_as_unknowns(dtype, weighted):
    A = Dense(dtype)
    y = measured(A)
    W = torch.rand(17, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
    likelihood = WeightedGaussian(A, y, W) if weighted else Gaussian(A, y, 0.0)
    root = (W.sqrt() if weighted else torch.ones(17)).to(dtype)
    expected = torch.linalg.lstsq(root[:, None] * A.matrix, (root * y)[:, None]).solution.reshape(1, 1, 3, 4)
    torch.testing.assert_close(solve(CGLS(iterations=14), likelihood), expected, rtol=1e-6, atol=1e-7)


def test_cgls_decreases_the_residual_and_stops_at_the_solution():
    A = Dense(torch.float64)
    likelihood = Gaussian(A, measured(A), 1.0)
    residuals = [
        float(likelihood.energy(s.estimate))
        for s in CGLS(iterations=40).solve(likelihood, None, A.domain.zeros(1), NOISE)
    ]
    assert all(b <= a + 1e-12 for a, b in pairwise(residuals))
    exact = Gaussian(A, torch.zeros(17, dtype=torch.float64), 1.0)
    assert not solve(CGLS(), exact).any()


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_cg_sense_is_the_tikhonov_solution(lam):
    A = Dense(torch.complex128)
    y = measured(A)
    normal = A.matrix.mH @ A.matrix + lam * torch.eye(12)
    expected = torch.linalg.solve(normal, A.matrix.mH @ y).reshape(1, 1, 3, 4)
    found = solve(CGSense(lam=lam, iterations=16), Gaussian(A, y, 0.7))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "solver",
    [
        FilteredBackProjection(),
        SART(sweeps=40, subsets=3),
        SART(sweeps=40, subsets=2, begin="start"),
        CGLS(iterations=14),
    ],
)
def test_counts_are_turned_into_line_integrals(solver):
    A = rays(torch.float64)
    truth = positive_image(A.domain.shape, torch.float64)
    counts = 1e6 * torch.exp(-A(truth)[0])
    found = solve(solver, TransmissionPoisson(A, counts, 1e6), 0.5 * truth)
    torch.testing.assert_close(found, truth, rtol=5e-3, atol=5e-3)


def test_sart_ignores_samples_of_zero_weight_and_keeps_images_nonnegative():
    A = rays(torch.float64)
    truth = positive_image(A.domain.shape, torch.float64)
    y = A(truth)[0]
    weights = torch.ones_like(y)
    y[:, 1, 2], weights[:, 1, 2] = 1e6, 0.0
    found = solve(SART(sweeps=40), WeightedGaussian(A, y, weights))
    assert torch.isfinite(found).all()
    assert float(found.max()) < 10
    negative = Gaussian(A, -y.clamp(max=5), 0.1)
    assert not solve(SART(sweeps=2), negative).any()
    assert float(solve(SART(sweeps=2, nonnegative=False), negative).min()) < 0


def test_two_samples_are_solved_as_one_by_one():
    A = rays(torch.float64)
    likelihood = Gaussian(A, A(positive_image(A.domain.shape, torch.float64))[0], 0.1)
    starts = torch.rand((2, *A.domain.shape), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for solver in (SART(sweeps=3, begin="start"), CGLS(iterations=3, begin="start"), L1Wavelet(iterations=5)):
        both = solve(solver, likelihood, starts)
        for i in range(2):
            torch.testing.assert_close(both[i : i + 1], solve(solver, likelihood, starts[i : i + 1]))


def last_steps(solver, likelihood, start, state=None) -> list[Step]:
    return list(solver.solve(likelihood, None, start, NOISE, state))


@pytest.mark.parametrize("solver", [SART(sweeps=5), CGLS(iterations=5), CGSense(iterations=5), L1Wavelet(iterations=5)])
def test_a_resumed_run_gives_the_same_bits(solver):
    A = rays(torch.float64)
    likelihood = Gaussian(A, A(positive_image(A.domain.shape, torch.float64))[0], 0.1)
    start = torch.full((1, *A.domain.shape), 0.5, dtype=torch.float64)
    whole = last_steps(solver, likelihood, start)
    rest = last_steps(solver, likelihood, start, whole[1].state)
    assert [s.index for s in rest] == [2, 3, 4]
    assert torch.equal(rest[-1].estimate, whole[-1].estimate)


def test_the_scale_of_an_image_comes_from_the_start_or_else_from_the_data():
    A = rays(torch.float64)
    truth = positive_image(A.domain.shape, torch.float64)
    likelihood = Gaussian(A, A(truth)[0], 0.1)
    values = torch.arange(24, dtype=torch.float64).reshape(1, *A.domain.shape) / 23
    assert float(image_scale(likelihood, values)) == pytest.approx(22 / 23)
    assert float(image_scale(likelihood, 1000 * values)) == pytest.approx(22000 / 23)
    assert 0.5 < float(image_scale(likelihood, torch.zeros_like(values))) < 2
    dark = Gaussian(A, torch.zeros_like(likelihood.measurement), 0.1)
    assert float(image_scale(dark, torch.zeros_like(values))) == 1.0


@pytest.mark.parametrize(
    ("code", "error", "solver", "dtype"),
    [
        ("E-SOL-01", ComponentMissing, FilteredBackProjection(), torch.float64),
        ("E-SOL-02", UsageError, SART(), torch.complex128),
        ("E-SOL-03", ComponentMissing, SART(), torch.float64),
        ("E-LIK-01", UsageError, L1Wavelet(), torch.float64),
    ],
)
def test_refusals(code, error, solver, dtype):
    A = Identity(Space(("z", "y", "x"), (1, 3, 4), dtype))
    with pytest.raises(error, match=code):
        solve(solver, Gaussian(A, A.domain.zeros(), 0.0))
