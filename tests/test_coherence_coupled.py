"""Slices coupled in the proximal step: the dense solve, the ends, edges, batches, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import Tensor

from medldm.inference import (
    Coupled,
    Gaussian,
    HasMeasurementProx,
    HasPerturbation,
    HasSurrogate,
    Likelihood,
    Noise,
    QuadraticTerm,
    SliceCoupling,
    TransmissionPoisson,
)
from medldm.inference.capabilities import Preconditioners
from medldm.inference.misfit import HasMisfit, slice_chi
from medldm.operators import Diagonal, Identity, LinearOperator, Space

SHAPE = (5, 2, 3)
SPACING = (2.5, 1.0, 0.5)
QUADRATIC = SliceCoupling("quadratic", length_mm=3.0, half_at=0.4)


def operator(dtype: torch.dtype = torch.float64) -> LinearOperator:
    generator = torch.Generator().manual_seed(0)
    space = Space(("z", "y", "x"), SHAPE, dtype)
    return Diagonal(space, space.randn(generator=generator))


def problem(dtype: torch.dtype = torch.float64) -> tuple[Gaussian, Tensor]:
    A = operator(dtype)
    generator = torch.Generator().manual_seed(1)
    y, v = A.codomain.randn(generator=generator), A.domain.randn(2, generator=generator)
    return Gaussian(A, y, 0.7), v


def differences(axis: int = 0) -> Tensor:
    """Along an axis of the flattened image, in 1/mm; no row joins the last slice to the first."""
    n = SHAPE[axis]
    d = (torch.eye(n, dtype=torch.float64)[1:] - torch.eye(n, dtype=torch.float64)[:-1]) / SPACING[axis]
    before, after = (
        torch.eye(int(torch.tensor(SHAPE[:axis]).prod())),
        torch.eye(int(torch.tensor(SHAPE[axis + 1 :]).prod())),
    )
    return torch.kron(torch.kron(before.double(), d), after.double())


def dense(likelihood: Gaussian, v: Tensor, weight: float, penalty: Tensor) -> Tensor:
    """The minimiser of ``energy(u) + weight/2 |u - v|^2 + u^H penalty u / 2`` for one image."""
    d = likelihood.operator.diagonal.flatten()  # type: ignore[union-attr]
    data = d.abs() ** 2 / 0.7**2
    normal = torch.diag(data + weight) + penalty
    rhs = d.conj() * likelihood.measurement.flatten() / 0.7**2 + weight * v.flatten()
    return torch.linalg.solve(normal.to(rhs.dtype), rhs).reshape(SHAPE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("weight", [0.3, 8.0])
def test_the_step_is_the_dense_solve(dtype: torch.dtype, axis: int, weight: float) -> None:
    likelihood, v = problem(dtype)
    u = Coupled.along(likelihood, QUADRATIC, axis, SPACING).prox(v, weight, iterations=100, tolerance=1e-12)
    sigma = weight**-0.5
    tau = weight * 3.0**2 * sigma**2 / (sigma**2 + 0.4**2)
    D = differences(axis)
    for found, point in zip(u, v, strict=True):
        torch.testing.assert_close(found, dense(likelihood, point, weight, tau * D.T @ D), rtol=1e-8, atol=1e-8)
    plain = likelihood.prox(v, weight, iterations=100, tolerance=1e-12)
    assert float((u - plain).abs().max()) > 0.05


def test_further_terms_are_kept() -> None:
    likelihood, v = problem()
    extra = QuadraticTerm(Identity(likelihood.operator.domain), 2.0)
    u = Coupled.along(likelihood, QUADRATIC, 0, SPACING).prox(v, 1.0, extra, iterations=100, tolerance=1e-12)
    tau = QUADRATIC.strength(1.0)
    D = differences()
    expected = dense(likelihood, v[0], 1.0, tau * D.T @ D + 2 * torch.eye(30, dtype=torch.float64))
    torch.testing.assert_close(u[0], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_total_variation_is_reweighted_at_the_point(dtype: torch.dtype) -> None:
    likelihood, v = problem(dtype)
    coupling = SliceCoupling("tv", length_mm=3.0, half_at=0.4, edge=0.3)
    coupled = Coupled.along(likelihood, coupling, 0, SPACING)
    u = coupled.prox(v, 2.0, iterations=100, tolerance=1e-12)
    D = differences()
    for found, point in zip(u, v, strict=True):
        weights = 0.3 / (D.to(dtype) @ point.flatten()).abs().clamp(min=0.3)
        assert 0 < int((weights < 1).sum()) < len(weights), "some differences are edges, some are not"
        penalty = coupling.strength(2.0) * D.T @ torch.diag(weights) @ D
        torch.testing.assert_close(found, dense(likelihood, point, 2.0, penalty), rtol=1e-8, atol=1e-8)


def test_repeated_steps_descend_to_the_smoothed_total_variation() -> None:
    """Majorise-minimise: each step with the weights of the last point lowers the Huber objective, to its minimum."""
    likelihood, v = problem()
    edge, tau = 0.1, 4.0
    D = differences()

    def objective(u: Tensor) -> float:
        steps = (D @ u.flatten()).abs()
        huber = torch.where(steps < edge, steps**2 / 2, edge * (steps - edge / 2)).sum()
        return float(likelihood.energy(u) + (u - v[0]).square().sum() / 2 + tau * huber)

    u, values = v[0], []
    for _ in range(200):
        weights = edge / (D @ u.flatten()).abs().clamp(min=edge)
        u = dense(likelihood, v[0], 1.0, tau * D.T @ torch.diag(weights) @ D)
        values.append(objective(u))
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(values))
    u.requires_grad_(True)
    steps = (D @ u.flatten()).abs()
    huber = torch.where(steps < edge, steps**2 / 2, edge * (steps - edge / 2)).sum()
    total = likelihood.energy(u) + (u - v[0]).square().sum() / 2 + tau * huber
    (gradient,) = torch.autograd.grad(total, u)
    assert float(gradient.abs().max()) < 1e-4


def test_edges_are_spared_by_the_total_variation_alone() -> None:
    space = Space(("z", "y", "x"), (12, 1, 1), torch.float64)
    step = (torch.arange(12) >= 6).double().reshape(1, 12, 1, 1)
    v = step + 0.01 * torch.randn(step.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nothing = Gaussian(Diagonal(space, torch.zeros(())), torch.zeros(12, 1, 1, dtype=torch.float64), 1.0)
    jumps = {}
    for kind in ("quadratic", "tv"):
        coupling = SliceCoupling(kind, length_mm=2.0, half_at=1e-3, edge=0.02)
        u = Coupled.along(nothing, coupling, 0, (1.0, 1.0, 1.0)).prox(v, 1.0, iterations=200, tolerance=1e-12)
        jumps[kind] = float(u[0, 6] - u[0, 5])
        assert (
            float((u[0, :6].diff(dim=0)).abs().max()) < float(v[0, :6].diff(dim=0).abs().max()) or kind == "quadratic"
        )
    assert jumps["tv"] > 0.8
    assert jumps["quadratic"] < 0.4


def test_a_ramp_keeps_its_ends_apart() -> None:
    """Neumann: the last slice of a stack is no neighbour of the first, so its mean stays and its ends do not meet."""
    space = Space(("z", "y", "x"), (9, 1, 1), torch.float64)
    v = torch.arange(9.0, dtype=torch.float64).reshape(1, 9, 1, 1)
    nothing = Gaussian(Diagonal(space, torch.zeros(())), torch.zeros(9, 1, 1, dtype=torch.float64), 1.0)
    coupling = SliceCoupling("quadratic", length_mm=1.0, half_at=1e-3)
    u = Coupled.along(nothing, coupling, 0, (1.0, 1.0, 1.0)).prox(v, 1.0, iterations=200, tolerance=1e-12).flatten()
    assert float(u.mean()) == pytest.approx(4)
    # Symmetric about the middle, and the middle untouched; a wrapped difference would pull 0 and 8 together.
    torch.testing.assert_close(u + u.flip(0), torch.full((9,), 8.0, dtype=torch.float64))
    assert float(u[0]) < 1
    assert float(u[4] - u[3]) == pytest.approx(1, abs=0.04)


def test_samples_stay_apart() -> None:
    likelihood, v = problem()
    for kind in ("quadratic", "tv"):
        coupled = Coupled.along(likelihood, SliceCoupling(kind, length_mm=3.0), 0, SPACING)
        both = coupled.prox(v, 2.0, iterations=7)
        for k in range(2):
            torch.testing.assert_close(both[k : k + 1], coupled.prox(v[k : k + 1], 2.0, iterations=7))


class Inverted(Diagonal):
    """Offers an inverse of its own, so that the proximal step is preconditioned."""

    def preconditioner(self, data_weights: Tensor) -> Preconditioners:
        normal = data_weights * self.diagonal.abs().square()
        return lambda weight: Diagonal(self.domain, 1 / (normal + weight))


@pytest.mark.parametrize("kind", ["quadratic", "tv"])
def test_samples_stay_apart_where_the_step_is_preconditioned(kind: Literal["quadratic", "tv"]) -> None:
    plain, v = problem()
    inverted = Gaussian(Inverted(*diagonal_of(plain.operator)), plain.measurement, 0.7)
    coupled = Coupled.along(inverted, SliceCoupling(kind, length_mm=6.0, half_at=0.1), 0, SPACING)
    v = torch.cat((v, 0.01 * v, 5 * v))
    grouped = coupled.prox(v, 2.0, iterations=3)
    assert not torch.allclose(grouped, replace(coupled, likelihood=plain).prox(v, 2.0, iterations=3), rtol=1e-2)
    for k in range(len(v)):
        torch.testing.assert_close(grouped[k : k + 1], coupled.prox(v[k : k + 1], 2.0, iterations=3))


def test_the_strength_is_that_of_the_weight_and_vanishes_with_the_noise() -> None:
    for sigma in (1e-3, 0.1, 5.0):
        weight = sigma**-2
        expected = weight * 3.0**2 * sigma**2 / (sigma**2 + 0.4**2)
        assert QUADRATIC.strength(weight) == pytest.approx(expected)
        assert QUADRATIC.fading(sigma) == pytest.approx(expected / (weight * 9))
    assert QUADRATIC.fading(0.4) == pytest.approx(0.5)
    assert QUADRATIC.strength(0.0) == 0
    # The same relative smoothing at any noise well above half_at.
    assert QUADRATIC.strength(1e-4) / 1e-4 == pytest.approx(9, rel=1e-3)


def test_the_last_steps_do_not_smooth() -> None:
    likelihood, v = problem()
    coupled = Coupled.along(likelihood, QUADRATIC, 0, SPACING)
    shifts = []
    for sigma in (1.0, 0.1, 0.01, 0.001):
        both = [part.prox(v, sigma**-2, iterations=200, tolerance=1e-13) for part in (coupled, likelihood)]
        shifts.append(float((both[0] - both[1]).abs().max()))
    assert shifts == sorted(shifts, reverse=True)
    assert shifts[-1] < 1e-4
    assert shifts[0] > 0.1


def test_all_else_is_the_likelihoods() -> None:
    likelihood, v = problem()
    coupled = Coupled.along(likelihood, QUADRATIC, 0, SPACING)
    assert isinstance(coupled, Likelihood)
    for name in ("energy", "gradient", "chi"):
        assert torch.equal(getattr(coupled, name)(v), getattr(likelihood, name)(v))
    assert coupled.operator is likelihood.operator
    assert coupled.measurement is likelihood.measurement
    assert torch.equal(coupled.weights, likelihood.weights)
    assert coupled.degrees_of_freedom == likelihood.degrees_of_freedom  # type: ignore[attr-defined]


def test_abilities_are_passed_on_and_no_others() -> None:
    likelihood, _ = problem()
    coupled = Coupled.along(likelihood, QUADRATIC, 0, SPACING)
    for ability in (HasMeasurementProx, HasPerturbation, HasMisfit):
        assert isinstance(likelihood, ability)
        assert isinstance(coupled, ability)
    assert not isinstance(coupled, HasSurrogate)
    A = operator()
    counts = TransmissionPoisson(replace_diagonal(A), 100 * torch.ones(SHAPE, dtype=torch.float64), 200.0)
    poisson = Coupled.along(counts, QUADRATIC, 0, SPACING)
    assert isinstance(poisson, HasSurrogate)
    assert not isinstance(poisson, HasPerturbation)
    surrogate = poisson.surrogate()
    assert isinstance(surrogate, Coupled)
    assert isinstance(surrogate, HasPerturbation)
    assert surrogate.coupling == QUADRATIC
    changed = replace(poisson, coupling=SliceCoupling(length_mm=9.0))
    assert changed.surrogate().coupling.length_mm == 9.0  # type: ignore[attr-defined]


class Oblique(LinearOperator):
    """Slices that look at two slices of the image each, so that no sample belongs to one."""

    def __init__(self) -> None:
        super().__init__()
        self.domain = Space(("z", "y", "x"), SHAPE, torch.float64)
        self.codomain = Space(("slice", "y", "x"), SHAPE, torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.5 * x.roll(1, -3)

    def adjoint(self, y: Tensor) -> Tensor:
        return y + 0.5 * y.roll(-1, -3)


def test_the_chi_of_slices_is_that_of_the_measurement() -> None:
    A = Oblique()
    likelihood = Gaussian(A, A.codomain.randn(generator=torch.Generator().manual_seed(3)), 0.7)
    coupled = Coupled.along(likelihood, QUADRATIC, 0, SPACING)
    v = A.domain.zeros(2)
    alone, chi = (slice_chi(of, v, Noise(0)) for of in (likelihood, coupled))
    assert alone is not None
    assert chi is not None
    assert torch.equal(chi, alone)


def diagonal_of(A: LinearOperator) -> tuple[Space, Tensor]:
    return A.domain, A.diagonal  # type: ignore[return-value]


def replace_diagonal(A: LinearOperator) -> LinearOperator:
    return Diagonal(A.domain, A.diagonal.abs())  # type: ignore[operator]


def test_photon_counts_are_coupled_too() -> None:
    """The outer Newton iteration carries the term: its result is stationary."""
    A = replace_diagonal(operator())
    generator = torch.Generator().manual_seed(2)
    counts = torch.poisson(torch.full(SHAPE, 500.0, dtype=torch.float64), generator=generator)
    coupled = Coupled.along(TransmissionPoisson(A, counts, 1000.0), QUADRATIC, 0, SPACING)
    v = A.domain.zeros(1).double()
    u = coupled.prox(v, 30.0, iterations=200, tolerance=1e-12)
    D = differences()
    pull = coupled.gradient(u) + 30 * (u - v) + QUADRATIC.strength(30.0) * (D.T @ D @ u.flatten()).reshape(u.shape)
    assert float(pull.abs().max()) < 1e-3 * float(coupled.gradient(v).abs().max())


def test_a_single_slice_has_no_neighbour() -> None:
    space = Space(("z", "y", "x"), (1, 2, 3))
    likelihood = Gaussian(Identity(space), torch.ones(1, 2, 3), 0.5)
    v = torch.rand(1, 1, 2, 3)
    coupled = Coupled.along(likelihood, QUADRATIC, 0, SPACING)
    torch.testing.assert_close(coupled.prox(v, 2.0), likelihood.prox(v, 2.0))
