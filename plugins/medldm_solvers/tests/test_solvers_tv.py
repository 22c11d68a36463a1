"""Total variation against closed forms, in any unit, with any likelihood."""

from __future__ import annotations

import math

import pytest
import torch

from medldm.errors import ComponentMissing, UsageError
from medldm.inference import Gaussian, Noise, TransmissionPoisson, WeightedGaussian, run
from medldm.operators import Diagonal, FiniteDifference, Identity, LinearOperator, Space
from medldm_solvers.examples import positive_image, rays
from medldm_solvers.gradient_field import GradientField, difference_steps
from medldm_solvers.l1_wavelet import L1Wavelet
from medldm_solvers.operator_size import absolute_sums, mean_gain
from medldm_solvers.tv import TotalVariation

NOISE = Noise(3)


def space(*shape: int, dtype: torch.dtype = torch.float64) -> Space:
    return Space(("z", "y", "x"), shape, dtype)


def solve(solver: TotalVariation, likelihood, start) -> torch.Tensor:
    return run(solver.solve(likelihood, None, start, NOISE)).estimate


def step(shape: tuple[int, ...], axis: int, low: complex, high: complex, dtype=torch.float64) -> torch.Tensor:
    y = torch.full((1, *shape), low, dtype=dtype)
    y.narrow(axis, shape[axis] // 2, shape[axis] - shape[axis] // 2).fill_(high)
    return y


@pytest.mark.parametrize("axis", [-2, -1])
@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(0.0, 2.0, torch.float64), (1.0, 1.0 + 2j, torch.complex128), (-1j, 2, torch.complex128)]
)
def test_the_halves_of_a_step_approach_each_other(axis, low, high, dtype):
    shape = (2, 6, 8)
    y = step(shape, axis, low, high, dtype)
    std, lam = 0.5, 3.0
    n = shape[axis] // 2
    direction = (high - low) / abs(high - low)
    shift = lam * std**2 / n * direction
    expected = step(shape, axis, low + shift, high - shift, dtype)
    likelihood = Gaussian(Identity(space(*shape, dtype=dtype)), y[0], std)
    found = solve(TotalVariation(lam=lam, iterations=400), likelihood, torch.ones_like(y))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_slices_are_coupled_in_3d_only_and_less_when_they_are_thick():
    shape, std, lam = (4, 3, 5), 0.5, 2.0
    y = step(shape, -3, 0.0, 2.0)
    likelihood, start = Gaussian(Identity(space(*shape)), y[0], std), torch.ones_like(y)
    flat = solve(TotalVariation(lam=lam, iterations=300), likelihood, start)
    torch.testing.assert_close(flat, y, rtol=1e-3, atol=1e-3)
    for thickness in (1.0, 4.0):
        solver = TotalVariation(lam=lam, iterations=600, dims="3d", spacing=(thickness, 1.0, 1.0))
        shift = lam / thickness * std**2 / 2
        torch.testing.assert_close(
            solve(solver, likelihood, start), step(shape, -3, shift, 2 - shift), rtol=2e-3, atol=2e-3
        )


def test_the_spacing_is_that_of_the_operators_domain():
    y = step((4, 3, 5), -3, 0.0, 2.0)
    known = Identity(Space(("z", "y", "x"), (4, 3, 5), torch.float64, spacing=(4.0, 2.0, 1.0)))
    start = torch.ones_like(y)
    found = solve(TotalVariation(lam=2.0, iterations=40, dims="3d"), Gaussian(known, y[0], 0.5), start)
    given = TotalVariation(lam=2.0, iterations=40, dims="3d", spacing=(4.0, 2.0, 1.0))
    assert torch.equal(found, solve(given, Gaussian(Identity(space(4, 3, 5)), y[0], 0.5), start))


def test_one_slice_has_no_neighbours():
    y = step((1, 4, 6), -1, 0.0, 2.0)
    likelihood, start = Gaussian(Identity(space(1, 4, 6)), y[0], 0.5), torch.ones_like(y)
    flat = solve(TotalVariation(lam=2.0, iterations=300), likelihood, start)
    volume = solve(TotalVariation(lam=2.0, iterations=300, dims="3d", spacing=(3.0, 1, 1)), likelihood, start)
    torch.testing.assert_close(volume, flat, rtol=2e-3, atol=2e-3)


def test_a_strong_weight_leaves_the_constant_that_counts_imply():
    shape = (1, 6, 7)
    counts = torch.poisson(torch.full(shape, 40.0, dtype=torch.float64), generator=torch.Generator().manual_seed(1))
    likelihood = TransmissionPoisson(Identity(space(*shape)), counts, 100.0)
    start = torch.ones((1, *shape), dtype=torch.float64)
    found = solve(TotalVariation(lam=500.0, iterations=800, ratio=30.0), likelihood, start)
    # A constant c maximises the likelihood where 100 exp(-c) is the mean count; post-log data would be biased.
    torch.testing.assert_close(found, torch.full_like(found, -math.log(float(counts.mean()) / 100)), rtol=2e-3, atol=0)


def test_samples_of_zero_weight_are_filled_in():
    shape = (1, 8, 9)
    weights = (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    y = torch.where(weights > 0, 2.0, 77.0).double()
    likelihood = WeightedGaussian(Identity(space(*shape)), y, 100 * weights)
    found = solve(TotalVariation(lam=1.0, iterations=500), likelihood, torch.ones((1, *shape), dtype=torch.float64))
    torch.testing.assert_close(found, torch.full_like(found, 2.0), rtol=1e-3, atol=0)


def test_noise_free_data_are_a_constraint():
    shape = (1, 8, 9)
    mask = (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.6).double()
    A = Diagonal(space(*shape), mask)
    truth = step(shape, -1, 1.0, 3.0)
    likelihood = Gaussian(A, A(truth)[0], 0.0, sampled=mask)
    found = solve(TotalVariation(lam=1.0, iterations=600), likelihood, A(truth))
    torch.testing.assert_close(A(found), A(truth), rtol=5e-3, atol=5e-3)


class Mixed(Identity):
    """An operator with negative entries and a norm that is not one: a second difference along x."""

    def __init__(self, space: Space, scale: float) -> None:
        super().__init__(space)
        self.scale = scale

    def forward(self, x):
        return self.scale * (2 * x - x.roll(1, -1) + 0.5 * x.roll(-1, -1))

    def adjoint(self, y):
        return self.scale * (2 * y - y.roll(-1, -1) + 0.5 * y.roll(1, -1))


@pytest.mark.parametrize("scale", [0.01, 1.0, 200.0])
@pytest.mark.parametrize("kind", ["rays", "mixed"])
def test_neither_the_unit_of_the_image_nor_the_scale_of_the_operator_matters(kind, scale):
    A: LinearOperator = rays(torch.float64) if kind == "rays" else Mixed(space(2, 3, 4), 1.0)
    truth = positive_image(A.domain.shape, torch.float64)
    y = A(truth)[0]
    solver, start = TotalVariation(lam=0.3, iterations=300), 0.9 * truth
    reference = solve(solver, Gaussian(A, y, 0.1), start)
    assert float((reference - truth).abs().max()) > 1e-3
    # Measurement and noise in another unit; then the image in another unit.
    torch.testing.assert_close(
        solve(solver, Gaussian(scale * A, scale * y, scale * 0.1), start), reference, rtol=1e-6, atol=1e-6
    )
    other = solve(solver, Gaussian((1 / scale) * A, y, 0.1), scale * start)
    torch.testing.assert_close(other / scale, reference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["rays", "mixed", "complex"])
def test_preconditioned_norm_is_at_most_one(kind):
    A: LinearOperator = {
        "rays": lambda: rays(torch.float64),
        "mixed": lambda: Mixed(space(2, 3, 4), 7.0),
        "complex": lambda: Diagonal(
            space(2, 3, 4, dtype=torch.complex128),
            9 * space(2, 3, 4, dtype=torch.complex128).randn(generator=torch.Generator().manual_seed(0)),
        ),
    }[kind]()
    rows, columns = absolute_sums(A, NOISE, A.domain.zeros(1), torch.ones(()))
    basis = torch.eye(A.domain.size, dtype=A.domain.dtype).reshape(-1, *A.domain.shape)
    scaled = A(basis / columns.sqrt()) / rows.sqrt()
    norm = float(torch.linalg.svdvals(scaled.flatten(1))[0])
    assert 0.8 < norm <= 1 + 1e-9
    assert 0 < mean_gain(A, NOISE, A.domain.zeros(1), rows, columns) <= 1.2


def test_the_gradient_field_is_the_operator_of_finite_differences():
    shape, spacing = (3, 4, 5), (4.0, 1.5, 1.0)
    D = FiniteDifference(space(*shape), spacing)
    field = GradientField(difference_steps("3d", spacing))
    x = space(*shape).randn(2, generator=torch.Generator().manual_seed(0))
    ones = torch.ones((), dtype=torch.float64)
    q = field.ascend(field.zeros(x), x, ones)
    torch.testing.assert_close(q.movedim(0, 1), D(x))
    torch.testing.assert_close(field.add_adjoint(torch.zeros_like(x), q, ones), D.H(D(x)))
    assert float(field.project(3 * q).square().sum(0).max()) <= 1 + 1e-9


def test_a_nonnegative_image_stays_so():
    y = step((1, 4, 6), -1, -2.0, 2.0)
    likelihood, start = Gaussian(Identity(space(1, 4, 6)), y[0], 0.5), torch.ones_like(y)
    for found in TotalVariation(lam=1.0, iterations=50, nonnegative=True).solve(likelihood, None, start, NOISE):
        assert float(found.estimate.min()) >= 0


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("E-SOL-05", {"nonnegative": True}),
        ("E-SOL-06", {"spacing": (1.0, 0.0, 1.0)}),
        ("E-SOL-07", {"dims": "3d"}),
    ],
)
def test_refusals(code, options):
    domain = space(1, 3, 4, dtype=torch.complex128)
    likelihood = Gaussian(Identity(domain), domain.zeros(), 1.0)
    with pytest.raises(UsageError, match=code):
        next(TotalVariation(**options).solve(likelihood, None, domain.zeros(1), NOISE))


def test_a_likelihood_that_does_not_separate_is_refused():
    class Other:
        operator, measurement = Identity(space(1, 3, 4)), space(1, 3, 4).zeros()

    with pytest.raises(ComponentMissing, match="E-SOL-04"):
        next(TotalVariation().solve(Other(), None, space(1, 3, 4).zeros(1), NOISE))


@pytest.mark.parametrize("make", [TotalVariation, L1Wavelet])
def test_the_misfit_of_the_start_counts_as_noise_when_it_is_trusted(make):
    shape, std, lam = (1, 4, 8), 0.5, 0.7
    y = step(shape, -1, 1.0, 3.0)
    likelihood = Gaussian(Identity(space(*shape)), y[0], std)
    start = y + 1.5  # chi = (1.5 / 0.5)^2
    trusting = solve(make(lam=lam, iterations=60, trust="start"), likelihood, start)
    torch.testing.assert_close(trusting, solve(make(lam=9 * lam, iterations=60), likelihood, start))
    exact = solve(make(lam=lam, iterations=60, trust="start"), likelihood, y)
    torch.testing.assert_close(exact, solve(make(lam=lam, iterations=60), likelihood, y))
