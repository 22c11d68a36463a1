"""Likelihoods against closed forms: diagonal operators, automatic differentiation, exact samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from medldm.errors import InputRefused, UsageError
from medldm.inference import (
    Gaussian,
    HasMeasurementProx,
    HasSurrogate,
    Likelihood,
    QuadraticTerm,
    TransmissionPoisson,
    WeightedGaussian,
)
from medldm.operators import Diagonal, FiniteDifference, Identity, LinearOperator, Space, vstack

SHAPE = (3, 4, 5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def space(dtype: torch.dtype = torch.float64) -> Space:
    return Space(("z", "y", "x"), SHAPE, dtype)


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=generator(seed), dtype=torch.float64)


def diagonal(dtype: torch.dtype = torch.float64) -> Diagonal:
    return Diagonal(space(dtype), space(dtype).randn(generator=generator(1)))


def poisson(background: float = 5.0, photons: float = 300.0) -> TransmissionPoisson:
    A = vstack(Diagonal(space(), 0.5 + uniform(*SHAPE)), Diagonal(space(), 0.2 + uniform(*SHAPE, seed=2)), axis="x")
    counts = torch.poisson(photons * torch.exp(-A(uniform(*SHAPE, seed=3))) + background, generator=generator(4))
    return TransmissionPoisson(A, counts, photons, background)


def likelihoods() -> dict[str, Likelihood]:
    real, imaginary = diagonal(), diagonal(torch.complex128)
    y, c = space().randn(generator=generator(5)), space(torch.complex128).randn(generator=generator(6))
    return {
        "gaussian": Gaussian(real, y, 0.3),
        "gaussian complex": Gaussian(imaginary, c, 0.3),
        "gaussian std per slice": Gaussian(imaginary, c, 0.1 + uniform(3, 1, 1)),
        "weighted": WeightedGaussian(real, y, uniform(*SHAPE)),
        "weighted complex": WeightedGaussian(imaginary, c, uniform(*SHAPE)),
        "poisson": poisson(),
        "poisson without background": poisson(0.0),
    }


ALL = [pytest.param(likelihood, id=name) for name, likelihood in likelihoods().items()]
QUADRATIC = [pytest.param(likelihood, id=name) for name, likelihood in likelihoods().items() if "poisson" not in name]


def image(likelihood: Likelihood, seed: int = 7) -> torch.Tensor:
    return 0.5 * likelihood.operator.domain.randn(2, generator=generator(seed))


@pytest.mark.parametrize("likelihood", ALL)
def test_gradient_is_that_of_the_energy(likelihood):
    assert isinstance(likelihood, Likelihood)
    assert isinstance(likelihood, HasMeasurementProx)
    u = image(likelihood).requires_grad_()
    energy = likelihood.energy(u)
    assert energy.shape == (2,)
    (expected,) = torch.autograd.grad(energy.sum(), u)
    torch.testing.assert_close(likelihood.gradient(u).detach(), expected)


@pytest.mark.parametrize("likelihood", QUADRATIC)
@pytest.mark.parametrize("weight", [0.0, 2.5])
def test_prox_of_a_diagonal_operator_is_a_weighted_mean(likelihood, weight):
    d, y, v = likelihood.operator.diagonal, likelihood.measurement, image(likelihood)
    w = likelihood.weights
    expected = (d.conj() * w * y + weight * v) / (d.abs().square() * w + weight)
    found = likelihood.prox(v, weight, iterations=200, tolerance=1e-13)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("likelihood", ALL)
def test_prox_is_the_minimum_with_quadratic_terms(likelihood):
    D = FiniteDifference(likelihood.operator.domain, (2.0, 1.0, 1.0), along=("z",))
    v = image(likelihood)
    u = likelihood.prox(v, 3.0, QuadraticTerm(D, 4.0), iterations=100, tolerance=1e-10)
    stationary = likelihood.gradient(u) + 3.0 * (u - v) + 4.0 * D.gram(u)
    assert float(stationary.abs().max()) < 1e-5
    again = likelihood.prox(v, 3.0, QuadraticTerm(D, 4.0), start=u, iterations=100, tolerance=1e-10)
    torch.testing.assert_close(again, u, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("likelihood", ALL)
def test_prox_does_not_depend_on_the_batch(likelihood):
    v = image(likelihood)
    both = likelihood.prox(v, 3.0)
    for i in range(2):
        torch.testing.assert_close(both[i], likelihood.prox(v[i], 3.0), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("likelihood", ALL)
def test_measurement_prox_is_stationary(likelihood):
    identity = Identity(likelihood.operator.codomain)
    v = 0.5 * identity.domain.randn(2, generator=generator(9))
    step = 0.01 + uniform(*identity.domain.shape, seed=10)
    q = likelihood.measurement_prox(v, step)
    # The same likelihood of its own prediction: q takes the place of A u.
    direct = {
        Gaussian: lambda: Gaussian(identity, likelihood.measurement, likelihood.std),
        WeightedGaussian: lambda: WeightedGaussian(identity, likelihood.measurement, likelihood.weights),
        TransmissionPoisson: lambda: TransmissionPoisson(
            identity, likelihood.measurement, likelihood.photons, likelihood.background
        ),
    }[type(likelihood)]()
    assert float((direct.gradient(q) + (q - v) / step).abs().max()) < 1e-5


def test_energy_of_complex_data_counts_both_components():
    A = Identity(space(torch.complex128))
    y = space(torch.complex128).zeros()
    u = torch.full(SHAPE, 3 + 4j, dtype=torch.complex128)
    assert float(Gaussian(A, y, 2.0).energy(u)) == pytest.approx(60 * 25 / (2 * 4))
    assert Gaussian(A, y, 2.0).degrees_of_freedom == 120
    assert Gaussian(Identity(space()), y.real, 2.0).degrees_of_freedom == 60


def exact_sample_cases():
    big = Space(("z", "y", "x"), (10, 40, 50), torch.float64)
    complex_ = Space(("z", "y", "x"), (10, 40, 50), torch.complex128)
    std = 0.1 + uniform(1, 40, 1)
    mask = (uniform(40, 50) < 0.3).double()
    truth, phase = uniform(10, 40, 50, seed=1), complex_.randn(generator=generator(2))
    noise, complex_noise = big.randn(generator=generator(3)), complex_.randn(generator=generator(4))
    masking = Diagonal(complex_, mask)
    counts = torch.poisson(20 * torch.exp(-truth) + 2, generator=generator(5))
    return {
        "gaussian": (Gaussian(Identity(big), truth + 0.2 * noise, 0.2), truth, 20000),
        "std per row": (Gaussian(Identity(big), truth + std * noise, std), truth, 20000),
        "complex": (Gaussian(Identity(complex_), phase + 0.2 * complex_noise, 0.2), phase, 40000),
        "masked": (
            Gaussian(masking, mask * (phase + 0.2 * complex_noise), 0.2, sampled=mask),
            phase,
            20 * int(mask.sum()),
        ),
        "weighted with zeros": (WeightedGaussian(masking, phase + 0.2 * complex_noise, mask / 0.04), phase, None),
        "poisson": (TransmissionPoisson(Identity(big), counts, 20.0, 2.0), truth, 20000),
    }


@pytest.mark.parametrize("name", list(exact_sample_cases()))
def test_chi_of_the_truth_is_one_within_its_spread(name):
    likelihood, truth, dof = exact_sample_cases()[name]
    if dof is not None:
        assert likelihood.degrees_of_freedom == dof
    spread = math.sqrt(2 / likelihood.degrees_of_freedom)
    chi = float(likelihood.chi(truth))
    assert abs(chi - 1) < 4 * spread
    assert chi != 1.0


def test_a_masked_acquisition_counts_only_what_was_sampled():
    mask = (uniform(4, 5) < 0.5).double()
    A = Diagonal(space(torch.complex128), mask)
    y = mask * space(torch.complex128).randn(generator=generator(1))
    plain, masked = Gaussian(A, y, 0.3), Gaussian(A, y, 0.3, sampled=mask)
    u = image(plain)
    torch.testing.assert_close(plain.energy(u), masked.energy(u))
    torch.testing.assert_close(plain.prox(u, 2.0), masked.prox(u, 2.0))
    assert masked.degrees_of_freedom < plain.degrees_of_freedom == 120


class CountingGram(Identity):
    calls = 0

    @property
    def gram(self) -> LinearOperator:
        self.calls += 1
        return Identity(self.domain)


def test_prox_uses_the_operators_own_gram_where_weights_are_uniform():
    A = CountingGram(space())
    Gaussian(A, space().zeros(), 0.5).prox(torch.ones(SHAPE, dtype=torch.float64), 1.0)
    assert A.calls > 0


class Preconditioned(Diagonal):
    def preconditioner(self, data_weights: Tensor) -> Callable[[float], LinearOperator]:
        return lambda weight: Diagonal(self.domain, 1 / (data_weights * self.diagonal.square() + weight))


def test_prox_asks_for_a_preconditioner():
    d = torch.logspace(-2, 2, 60, dtype=torch.float64).reshape(SHAPE)
    y, v = (space().randn(generator=generator(s)) for s in (1, 2))
    expected = (d * y / 0.09 + 2.0 * v) / (d.square() / 0.09 + 2.0)
    found = Gaussian(Preconditioned(space(), d), y, 0.3).prox(v, 2.0, iterations=2)
    torch.testing.assert_close(found, expected)
    weights = torch.linspace(0.5, 40, 60, dtype=torch.float64).reshape(SHAPE)
    expected = (weights * d * y + 2.0 * v) / (weights * d.square() + 2.0)
    found = WeightedGaussian(Preconditioned(space(), d), y, weights).prox(v, 2.0, iterations=2)
    torch.testing.assert_close(found, expected)


def test_a_preconditioner_is_told_the_mean_of_further_terms_and_left_out_of_mere_steps():
    asked = []

    class Listening(Preconditioned):
        def preconditioner(self, data_weights: Tensor) -> Callable[[float], LinearOperator]:
            inverse = super().preconditioner(data_weights)
            return lambda weight: asked.append(weight) or inverse(weight)

    A = Listening(space(), torch.ones(SHAPE, dtype=torch.float64))
    likelihood = Gaussian(A, space().randn(generator=generator(1)), 0.5)
    likelihood.prox(space().zeros(), 2.0, QuadraticTerm(3.0 * Identity(space()), 0.7))
    assert asked == [pytest.approx(2.0 + 0.7 * 9)]
    likelihood.prox(space().zeros(), 0.0)
    likelihood.prox(space().zeros(), 2.0, iterations=1)
    assert len(asked) == 1


def test_nothing_measured_asks_for_no_preconditioner():
    """Its balance with the data has no meaning then, and the step is the prior's image."""
    v = space().randn(generator=generator(2))
    A = Preconditioned(space(), torch.ones(SHAPE, dtype=torch.float64))
    found = WeightedGaussian(A, space().zeros(), torch.zeros(SHAPE, dtype=torch.float64)).prox(v, 2.0)
    torch.testing.assert_close(found, v)


def test_real_image_with_complex_data():
    factor = space(torch.complex128).randn(generator=generator(3))

    class Phase(LinearOperator):
        domain, codomain = space(), space(torch.complex128)

        def forward(self, x):
            return factor * x

        def adjoint(self, y):
            return (factor.conj() * y).real

    y, v = space(torch.complex128).randn(generator=generator(4)), space().randn(generator=generator(5))
    found = Gaussian(Phase(), y, 0.5).prox(v, 1.5, iterations=100, tolerance=1e-13)
    expected = ((factor.conj() * y).real / 0.25 + 1.5 * v) / (factor.abs().square() / 0.25 + 1.5)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_noise_free_data_have_no_energy_but_a_constraint():
    likelihood = Gaussian(diagonal(), space().randn(generator=generator(1)), 0.0)
    v = image(likelihood)
    for refused in (likelihood.energy, likelihood.gradient, likelihood.chi, lambda u: likelihood.prox(u, 1.0)):
        with pytest.raises(UsageError, match="E-LIK-01"):
            refused(v)
    step = torch.ones(())
    torch.testing.assert_close(likelihood.measurement_prox(v, step), likelihood.measurement.expand_as(v))


def test_post_log_data_and_their_weights():
    A = Identity(space())
    counts = torch.full(SHAPE, 50.0, dtype=torch.float64)
    counts[0, 0, 0], counts[0, 0, 1] = 0.0, -3.0
    likelihood = WeightedGaussian.from_counts(A, counts, 1000.0, electronic_variance=10.0)
    assert float(likelihood.measurement[1, 1, 1]) == pytest.approx(math.log(20))
    assert float(likelihood.weights[1, 1, 1]) == pytest.approx(2500 / 60)
    for floored in ((0, 0, 0), (0, 0, 1)):
        assert float(likelihood.measurement[floored]) == pytest.approx(math.log(1000))
        assert float(likelihood.weights[floored]) == pytest.approx(1 / 11)


def test_post_log_noise_has_the_variance_that_the_weights_say():
    shape = (1, 200, 200)
    A = Identity(Space(("z", "y", "x"), shape, torch.float64))
    counts = torch.poisson(torch.full(shape, 400.0, dtype=torch.float64), generator=generator())
    likelihood = WeightedGaussian.from_counts(A, counts, 1000.0)
    variance = float(likelihood.measurement.var())
    assert variance == pytest.approx(float((1 / likelihood.weights).mean()), rel=0.03)


def test_surrogate_of_counts_has_the_same_minimum_where_photons_are_many():
    likelihood = poisson(background=20.0, photons=1e8)
    assert isinstance(likelihood, HasSurrogate)
    v = image(likelihood)
    exact, post_log = (f.prox(v, 1.0, iterations=50, tolerance=1e-9) for f in (likelihood, likelihood.surrogate()))
    torch.testing.assert_close(exact, post_log, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("offset", [-3.0, 3.0])
def test_poisson_prox_finds_its_minimum_from_afar(offset):
    likelihood = poisson()
    v = image(likelihood)
    near = likelihood.prox(v, 3.0, iterations=60, tolerance=1e-9)
    far = likelihood.prox(v, 3.0, start=v + offset, iterations=60, tolerance=1e-9)
    torch.testing.assert_close(far, near, rtol=1e-4, atol=1e-4)


def test_poisson_energy_is_zero_for_a_perfect_fit_and_finite_without_counts():
    A = Identity(space())
    u = uniform(*SHAPE)
    counts = 100 * torch.exp(-u) + 3
    assert float(TransmissionPoisson(A, counts, 100.0, 3.0).energy(u)) == pytest.approx(0, abs=1e-9)
    empty = TransmissionPoisson(A, torch.zeros_like(counts), 100.0)
    assert float(empty.energy(u)) == pytest.approx(float((100 * torch.exp(-u)).sum()))
    assert torch.isfinite(empty.prox(u, 1.0)).all()


@pytest.mark.parametrize(
    ("code", "build"),
    [
        ("E-LIK-02", lambda A, y: Gaussian(A, y, -0.1)),
        ("E-LIK-02", lambda A, y: Gaussian(A, y, math.nan)),
        ("E-LIK-03", lambda A, y: Gaussian(A, y[:2], 0.1)),
        ("E-LIK-03", lambda A, y: Gaussian(A, y, torch.ones(7))),
        ("E-LIK-03", lambda A, y: Gaussian(A, y.to(torch.complex128), 0.1)),
        ("E-LIK-04", lambda A, y: WeightedGaussian(A, y / 0, torch.ones(()))),
        ("E-LIK-06", lambda A, y: WeightedGaussian(A, y, -torch.ones(()))),
        ("E-LIK-07", lambda A, y: WeightedGaussian.from_counts(A, y, 0.0)),
        ("E-LIK-07", lambda A, y: WeightedGaussian.from_counts(A, y, 10.0, -1.0)),
        ("E-LIK-08", lambda A, y: TransmissionPoisson(A, -y, 10.0)),
        ("E-LIK-08", lambda A, y: TransmissionPoisson(A, y, -10.0)),
        ("E-LIK-08", lambda A, y: TransmissionPoisson(A, y, 10.0, -1.0)),
    ],
)
def test_refusals(code, build):
    with pytest.raises(InputRefused, match=code):
        build(Identity(space()), torch.ones(SHAPE, dtype=torch.float64))


def test_a_negative_weight_is_refused():
    with pytest.raises(UsageError, match="E-LIK-05"):
        Gaussian(Identity(space()), space().zeros(), 0.1).prox(space().zeros(), -1.0)


def test_poisson_prox_in_single_precision():
    double = poisson()
    A = vstack(*(Diagonal(space(torch.float32), op.diagonal.float()) for op in double.operator.operators), axis="x")
    single = TransmissionPoisson(A, double.measurement.float(), 300.0, 5.0)
    v = image(double)
    expected = double.prox(v, 3.0, iterations=60, tolerance=1e-10)
    found = single.prox(v.float(), 3.0, iterations=60, tolerance=1e-6)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
