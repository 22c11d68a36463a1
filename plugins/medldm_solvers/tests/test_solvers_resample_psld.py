"""ReSample and PSLD: the solvers that differentiate the decoder."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from medldm.errors import ComponentMissing
from medldm.inference import Gaussian, Noise, run
from medldm.inference.weighted_norm import MARGIN
from medldm.operators import Diagonal, Space
from medldm.testing.closed_form import GaussianLatents, GaussianPrior
from medldm_solvers.noise_range import descent
from medldm_solvers.psld import PSLD
from medldm_solvers.resample import ReSample, resampled

NOISE = Noise(5)
MEAN, STD, GAIN = 0.3, 0.5, 2.0


def space(*shape: int, dtype: torch.dtype = torch.float64) -> Space:
    return Space(("z", "y", "x"), shape, dtype)


def measured(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, unit: float = 1.0) -> Gaussian:
    i = torch.arange(shape[0] * shape[1] * shape[2], dtype=torch.float64).reshape(shape)
    d = torch.polar(0.5 + 0.4 * torch.cos(i), i) if dtype.is_complex else 0.5 + torch.cos(i) ** 2
    y = d * (torch.cos(0.3 * i) + (0.4j if dtype.is_complex else 0))
    return Gaussian(Diagonal(space(*shape, dtype=dtype), unit * d), unit * y, unit * 0.1)


def latents(*shape: int, dtype: torch.dtype = torch.float64, std: float = STD, error: float = 0.0) -> GaussianLatents:
    return GaussianLatents(space(*shape, dtype=dtype), MEAN, std, gain=GAIN, error=error)


STAGES = {
    "cg": {"split": 0.0, "cg_iterations": 60},
    "adam": {"split": 0.0, "pixel_stage": "adam", "adam_iterations": 500, "rate": 0.02},
    "latent": {"split": 1e3, "adam_iterations": 500, "rate": 0.02},
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_every_kind_of_fit_ends_at_the_posterior_mean(stage, dtype):
    """At much noise the denoised latent is the prior's mean, so a weight of the prior's own variance makes it exact."""
    shape, std, sigma = (1, 2, 3), 0.1, 60.0
    likelihood, prior = measured(shape, dtype), latents(*shape, dtype=dtype, std=std)
    solver = ReSample(steps=1, lam=sigma**2 / std**2, sigma_max=sigma, sigma_min=sigma, **STAGES[stage])
    step = run(solver.solve(likelihood, prior, torch.zeros(2, *shape, dtype=dtype), NOISE))
    W = likelihood.operator.gram(torch.ones(shape, dtype=dtype)).real / 0.1**2
    w = 1 / (GAIN * std) ** 2
    expected = (likelihood.operator.H(likelihood.measurement) / 0.1**2 + w * GAIN * MEAN) / (W + w)
    torch.testing.assert_close(step.estimate, expected.expand_as(step.estimate), rtol=0, atol=1e-3)
    torch.testing.assert_close(prior.decode(step.sample), step.estimate)


@pytest.mark.parametrize("gamma", [0.5, 40.0])
def test_the_draw_is_the_papers_over_the_size_of_its_state(gamma):
    """Mean and variance of its stochastic resampling, in alpha-bar."""
    sigma, after = 1.3, 0.8
    a, a_before = 1 / (1 + after**2), 1 / (1 + sigma**2)
    z, fitted, zero = torch.tensor(2.0), torch.tensor(-0.7), torch.tensor(0.0)
    s = gamma * (1 - a) / (1 - a_before) * (1 - a_before / a)
    mean = (s * a**0.5 * fitted + (1 - a) * (a**0.5 * z)) / (s + 1 - a)
    variance = 1 / (1 / s + 1 / (1 - a))
    found = a**0.5 * resampled(z, fitted, sigma, after, gamma, zero)
    torch.testing.assert_close(found, mean)
    drawn = a**0.5 * resampled(z, fitted, sigma, after, gamma, torch.tensor(1.0)) - found
    assert float(drawn) ** 2 == pytest.approx(variance, rel=1e-5)


def half_measured(count: int) -> tuple[Gaussian, GaussianLatents, torch.Tensor]:
    """Precise values 1.0 on half of each slice, nothing on the other half, which in the latent is mirrored."""
    d = torch.cat((torch.ones(1, 20, 20), torch.zeros(1, 20, 20)), -1).double()
    likelihood = Gaussian(Diagonal(space(1, 20, 40), d), d, 0.01)
    return likelihood, latents(1, 20, 40), torch.zeros(count, 1, 20, 40, dtype=torch.float64)


def drawn_by_resample(k: int, a: float, b: float) -> tuple[float, float]:
    share = 1 if k % 2 and b > 0 else 1 / (1 + 40 * (1 - (b / a) ** 2))
    return share * b / a, b * (1 - share) ** 0.5


def drawn_by_psld(_: int, a: float, b: float) -> tuple[float, float]:
    return (b / a) ** 2, b * (1 - (b / a) ** 2) ** 0.5


@pytest.mark.parametrize(
    ("solver", "drawn", "close"),
    [
        (ReSample(steps=60, sigma_max=None), drawn_by_resample, 0.02),
        (PSLD(steps=150, sigma_max=None, omega=3.0), drawn_by_psld, 0.1),
    ],
)
def test_what_is_measured_follows_the_data_and_the_rest_the_chain_without(solver, drawn, close):
    """Half of each image is known precisely; the other half has the prior's mean and a spread known level by level."""
    d = torch.cat((torch.ones(1, 30, 20), torch.zeros(1, 30, 20)), -1).double()
    likelihood, prior = Gaussian(Diagonal(space(1, 30, 40), d), d, 0.01), latents(1, 30, 40)
    start = torch.full((4, 1, 30, 40), GAIN * MEAN, dtype=torch.float64)
    found = run(solver.solve(likelihood, prior, start, NOISE)).estimate
    seen, unseen = found[..., :20], found[..., 20:]
    assert float((seen - 1).abs().mean()) < close
    levels = descent(prior, solver.steps, low=solver.sigma_min, high=solver.sigma_max)
    variance = levels[0] ** 2
    for k, (a, b) in enumerate(pairwise(levels)):
        c = STD**2 / (STD**2 + a**2)
        kept, fresh = drawn(k, a, b)
        variance = (c + kept * (1 - c)) ** 2 * variance + fresh**2
    assert float(unseen.mean()) == pytest.approx(GAIN * MEAN, abs=0.05)
    assert float(unseen.std()) == pytest.approx(GAIN * variance**0.5, rel=0.05)


@pytest.mark.parametrize("gluing", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_gradient_of_psld_is_that_of_differences(gluing, dtype):
    """Along real and imaginary direction, through denoiser, decoder, gluing and encoder; samples stay apart."""
    shape, sigma, norm, seen = (1, 2, 3), 0.4, 20.0, 31.0
    likelihood, prior = measured(shape, dtype), latents(*shape, dtype=dtype)
    solver = PSLD(omega=0.7, gamma=1.3, gluing=gluing)
    z = NOISE.like(torch.zeros(2, *shape, dtype=dtype), "z", step=0)
    clean, image, gradient = solver._gradient(likelihood, prior, z, sigma, norm, seen)
    level = torch.full((2,), sigma, dtype=torch.float64)
    torch.testing.assert_close(clean, prior.denoise(z, level))
    torch.testing.assert_close(image, prior.decode(clean))

    def value(at: torch.Tensor) -> torch.Tensor:
        z0 = prior.denoise(at, level)
        glued = prior.decode(z0)
        misfit = (2 * likelihood.energy(glued)).sqrt()
        for _ in range(gluing):
            glued = glued - likelihood.gradient(glued) * MARGIN**2 / norm**2
        return 0.7 / seen * misfit + 1.3 * prior.space.norm(z0 - prior.encode(glued))

    step = 1e-6
    for direction in (1, 1j) if dtype.is_complex else (1,):
        moved = z.clone()
        moved[1, 0, 1, 2] += step * direction
        slope = (value(moved) - value(z)) / step
        assert float(slope[0]) == 0
        expected = (gradient[1, 0, 1, 2] * torch.tensor(direction, dtype=dtype).conj()).real
        assert float(slope[1]) == pytest.approx(float(expected), rel=1e-4)


def test_for_a_projection_the_gluing_is_the_papers():
    """``A^H A`` is nine times a projection: two voxels of three are seen."""
    d = torch.tensor([0.0, 3.0, 3.0], dtype=torch.float64).reshape(1, 1, 3)
    y = torch.tensor([0.0, 6.0, -3.0], dtype=torch.float64).reshape(1, 1, 3)
    likelihood, prior = Gaussian(Diagonal(space(1, 1, 3), d), y, 0.1), latents(1, 1, 3)
    found: list[torch.Tensor] = []
    prior.encode = lambda x: found.append(x) or GaussianLatents.encode(prior, x)  # type: ignore[method-assign]
    solver = PSLD(steps=1, sigma_max=0.5, sigma_min=0.5)
    run(solver.solve(likelihood, prior, torch.zeros(1, 1, 1, 3, dtype=torch.float64), NOISE))
    z = 0.5 * NOISE.like(torch.zeros(1, 1, 1, 3, dtype=torch.float64), "start", step=0)
    image = prior.decode(prior.denoise(z, torch.full((1,), 0.5, dtype=torch.float64)))
    expected = torch.where(d > 0, y / 3, image)
    torch.testing.assert_close(found[-1], expected, rtol=1e-4, atol=1e-4)


def test_the_gluing_alone_leads_to_the_data():
    shape = (1, 4, 4)
    prior = latents(*shape)
    ones = torch.ones(shape, dtype=torch.float64)
    likelihood = Gaussian(Diagonal(prior.space, ones), 1.5 * ones, 0.1)
    start = torch.zeros(1, *shape, dtype=torch.float64)
    far, near = (
        float((run(PSLD(steps=60, omega=0, gamma=gamma).solve(likelihood, prior, start, NOISE)).estimate - 1.5).std())
        for gamma in (0.0, 3.0)
    )
    assert near < 0.3 * far


def test_a_perfect_fit_gives_no_nan():
    shape = (1, 2, 2)
    prior = GaussianLatents(space(*shape), 0.5, 1e-9, gain=GAIN)
    ones = torch.ones(shape, dtype=torch.float64)
    likelihood, start = Gaussian(Diagonal(prior.space, ones), ones, 0.1), ones[None]
    # Adam leaves the minimum by as much as its rate, 0.01 of the latent
    for solver, far in ((PSLD(steps=3), 1e-9), (ReSample(steps=3), 0.02)):
        found = run(solver.solve(likelihood, prior, start, NOISE)).estimate
        torch.testing.assert_close(found, start, rtol=0, atol=far)


@pytest.mark.parametrize("solver", [ReSample(steps=4, split=0.3, adam_iterations=4), PSLD(steps=5)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_unit_of_the_measurement_does_not_matter(solver, dtype):
    shape = (2, 2, 3)
    prior, start = latents(*shape, dtype=dtype, error=0.1), torch.zeros(1, *shape, dtype=dtype)
    one, other = (run(solver.solve(measured(shape, dtype, unit), prior, start, NOISE)).estimate for unit in (1.0, 50.0))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("solver", [ReSample(steps=7, every=3, split=0.3, pixel_stage="adam"), PSLD(steps=7)])
def test_it_resumes_from_every_step(solver):
    shape = (2, 2, 3)
    prior, start = latents(*shape, error=0.1), torch.zeros(2, *shape, dtype=torch.float64)
    steps = list(solver.solve(measured(shape), prior, start, NOISE))
    for at in range(6):
        rest = list(solver.solve(measured(shape), prior, start, NOISE, steps[at].state))
        assert torch.equal(rest[-1].estimate, steps[-1].estimate)


@pytest.mark.parametrize("solver", [ReSample(), PSLD()])
@pytest.mark.parametrize("prior", [None, GaussianPrior(space(1, 2, 3))])
def test_priors_of_images_are_refused(solver, prior):
    with pytest.raises(ComponentMissing, match="E-SOL-30"):
        run(solver.solve(measured((1, 2, 3)), prior, torch.zeros(1, 1, 2, 3, dtype=torch.float64), NOISE))
