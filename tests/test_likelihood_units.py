"""A likelihood restated for ``x`` with ``u = s x + b``: the same numbers, by every road."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from medldm.errors import UsageError
from medldm.inference import (
    Gaussian,
    HasFilteredAdjoint,
    HasPreconditioner,
    HasSubsets,
    HasUnits,
    Likelihood,
    TransmissionPoisson,
    WeightedGaussian,
)
from medldm.inference.negotiation import provides
from medldm.inference.units import scaled
from medldm.operators import Diagonal, Identity, LinearOperator, Space, vstack

SHAPE = (3, 4, 5)
SCALE, OFFSET = 0.7, 0.2


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def space(dtype: torch.dtype = torch.float64) -> Space:
    return Space(("z", "y", "x"), SHAPE, dtype)


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=generator(seed), dtype=torch.float64)


def diagonal(dtype: torch.dtype) -> Diagonal:
    return Diagonal(space(dtype), space(dtype).randn(generator=generator(1)))


def poisson() -> TransmissionPoisson:
    A = vstack(Diagonal(space(), 0.5 + uniform(*SHAPE)), Diagonal(space(), 0.2 + uniform(*SHAPE, seed=2)), axis="x")
    counts = torch.poisson(300 * torch.exp(-A(uniform(*SHAPE, seed=3))) + 5, generator=generator(4))
    return TransmissionPoisson(A, counts, 300.0, 5.0)


def likelihoods() -> dict[str, Likelihood]:
    y, c = space().randn(generator=generator(5)), space(torch.complex128).randn(generator=generator(6))
    real, complex_ = diagonal(torch.float64), diagonal(torch.complex128)
    sampled = (uniform(*SHAPE, seed=8) > 0.5).double()
    masked = Diagonal(space(torch.complex128), sampled * complex_.diagonal)
    return {
        "gaussian": Gaussian(real, y, 0.3),
        "gaussian complex": Gaussian(complex_, c, 0.3),
        "gaussian std per slice": Gaussian(complex_, c, 0.1 + uniform(3, 1, 1)),
        "gaussian masked": Gaussian(masked, c * sampled, 0.3, sampled),
        "weighted": WeightedGaussian(real, y, uniform(*SHAPE)),
        "weighted complex": WeightedGaussian(complex_, c, uniform(*SHAPE)),
        "poisson": poisson(),
    }


ALL = [pytest.param(likelihood, id=name) for name, likelihood in likelihoods().items()]


@pytest.fixture(params=ALL)
def native(request: pytest.FixtureRequest) -> Likelihood:
    return request.param


def restated(native: Likelihood, scale: float = SCALE, offset: float = OFFSET) -> Likelihood:
    assert isinstance(native, HasUnits)
    return native.in_units(scale, offset)


def image(likelihood: Likelihood, seed: int = 7) -> torch.Tensor:
    return 0.5 * likelihood.operator.domain.randn(2, generator=generator(seed))


def test_the_energy_is_that_of_the_original(native: Likelihood) -> None:
    x = image(native)
    u = SCALE * x + OFFSET
    torch.testing.assert_close(restated(native).energy(x), native.energy(u), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(restated(native).chi(x), native.chi(u), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(restated(native).energy(x), native.energy(x), rtol=1e-3)


def test_the_gradient_obeys_the_chain_rule(native: Likelihood) -> None:
    x = image(native)
    expected = SCALE * native.gradient(SCALE * x + OFFSET)
    torch.testing.assert_close(restated(native).gradient(x), expected, rtol=1e-11, atol=1e-11)


def test_the_proximal_step_is_that_of_the_original(native: Likelihood) -> None:
    """``w / 2 |x - v|^2 = (w / s^2) / 2 |u - (s v + b)|^2``."""
    v, weight = image(native), 3.0
    u = native.prox(SCALE * v + OFFSET, weight / SCALE**2, iterations=200, tolerance=1e-13)
    x = restated(native).prox(v, weight, iterations=200, tolerance=1e-13)
    torch.testing.assert_close(SCALE * x + OFFSET, u, rtol=1e-6, atol=1e-6)


def test_the_step_on_the_measurement_moves_with_it(native: Likelihood) -> None:
    """``q = A u`` becomes ``q - A b``."""
    shift = native.operator(torch.full_like(image(native)[0], OFFSET))
    v = native.operator(image(native))
    step = torch.tensor(0.4, dtype=torch.float64)
    expected = native.measurement_prox(v, step) - shift  # type: ignore[attr-defined]
    found = restated(native).measurement_prox(v - shift, step)  # type: ignore[attr-defined]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_offset_may_be_an_image(native: Likelihood) -> None:
    assert isinstance(native, HasUnits)
    x, b = image(native), image(native, seed=11)[0]
    expected = native.energy(SCALE * x + b)
    torch.testing.assert_close(native.in_units(SCALE, b).energy(x), expected, rtol=1e-12, atol=1e-12)


def test_there_and_back_is_the_original(native: Likelihood) -> None:
    back = restated(restated(native), 1 / SCALE, -OFFSET / SCALE)
    u = image(native)
    torch.testing.assert_close(back.energy(u), native.energy(u), rtol=1e-12, atol=1e-12)


def test_the_surrogate_of_counts_moves_with_them() -> None:
    counts = poisson()
    direct = counts.surrogate().in_units(SCALE, OFFSET)  # type: ignore[attr-defined]
    torch.testing.assert_close(restated(counts).surrogate().measurement, direct.measurement)  # type: ignore[attr-defined]
    assert torch.equal(restated(counts).measurement, counts.measurement)


def test_noise_free_data_can_be_restated() -> None:
    exact = Gaussian(diagonal(torch.float64), space().randn(generator=generator(5)), 0.0).in_units(SCALE, OFFSET)
    truth = exact.measurement / (SCALE * exact.operator.operator.diagonal)  # type: ignore[union-attr]
    torch.testing.assert_close(exact.operator(truth), exact.measurement)


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_scale_that_cannot_be_inverted_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match="E-LIK-10"):
        Gaussian(diagonal(torch.float64), space().zeros(), 1.0).in_units(scale, 0.0)


class Doubling(LinearOperator):
    """``2 x`` with every ability, each exact."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.domain = self.codomain = space

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return 2 * y

    def filtered_adjoint(self, window: str = "hann") -> LinearOperator:
        return 0.5 * Identity(self.domain)

    def subsets(self, n: int) -> Sequence[tuple[LinearOperator, torch.Tensor]]:
        return [(self, torch.arange(i, SHAPE[1], n)) for i in range(n)]

    def preconditioner(self, data_weights: torch.Tensor) -> Callable[[float], LinearOperator]:
        return lambda weight: (1 / (4 * float(data_weights.mean()) + weight)) * Identity(self.domain)


def test_a_scaled_operator_keeps_its_abilities() -> None:
    operator = scaled(Doubling(space()), 3.0)
    assert (
        provides(operator) == provides(Doubling(space())) == {"real", "filtered-adjoint", "subsets", "preconditioner"}
    )
    x = space().randn(generator=generator(0))
    torch.testing.assert_close(operator(x), 6 * x)
    assert isinstance(operator, HasFilteredAdjoint)
    torch.testing.assert_close(operator.filtered_adjoint()(operator(x)), x)
    assert isinstance(operator, HasSubsets)
    (first, index), _ = operator.subsets(2)
    torch.testing.assert_close(first(x), 6 * x)
    assert isinstance(first, HasSubsets)
    assert index.tolist() == [0, 2]
    assert isinstance(operator, HasPreconditioner)
    inverse = operator.preconditioner(torch.tensor(2.0))(5.0)
    normal = 2.0 * operator.gram(x) + 5.0 * x
    ratio = inverse(normal) / x
    torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio))


def test_a_scaled_operator_gains_no_ability() -> None:
    assert provides(scaled(Identity(space()), 3.0)) == {"real"}
    assert provides(scaled(Identity(space(torch.complex64)), 3.0)) == {"complex"}


def test_one_preconditioned_step_solves_the_proximal_problem() -> None:
    likelihood = Gaussian(Doubling(space()), space().randn(generator=generator(2)), 0.5).in_units(3.0, OFFSET)
    v = space().randn(generator=generator(3))
    found = likelihood.prox(v, 2.0, iterations=2)
    expected = (4 * 6 * likelihood.measurement + 2.0 * v) / (4 * 36 + 2.0)
    torch.testing.assert_close(found, expected)
