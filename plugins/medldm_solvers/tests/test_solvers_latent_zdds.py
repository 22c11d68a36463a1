"""The default on latents: the same images as on images where coding loses nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from medldm.errors import ComponentMissing
from medldm.inference import Gaussian, Noise, run
from medldm.operators import Diagonal, Space
from medldm.testing.closed_form import GaussianLatents, GaussianPrior
from medldm_solvers.latent_zdds import LatentZDDS
from medldm_solvers.zdds import ZDDS

NOISE = Noise(4)
SPACE = Space(("z", "y", "x"), (2, 3, 4), torch.complex128)


def measured() -> Gaussian:
    d = torch.polar(torch.linspace(0, 2, 24, dtype=torch.float64), torch.arange(24.0, dtype=torch.float64))
    d = d.reshape(2, 3, 4)
    return Gaussian(Diagonal(SPACE, d), d * (1.1 - 0.4j), 0.2)


class Mirrored(Noise):
    """The same draws, mirrored as the latents are."""

    def like(self, x: torch.Tensor, purpose: str, *, step: int) -> torch.Tensor:
        return super().like(x, purpose, step=step).flip(-1)


@pytest.mark.parametrize(("gain", "integrator"), [(1.0, "ddim"), (0.5, "ddim"), (0.5, "dpm++2m")])
def test_where_coding_loses_nothing_it_is_zdds(gain, integrator):
    """A prior of images ``gain`` times as wide, at noise levels ``gain`` times as high."""
    start = torch.full((2, *SPACE.shape), 0.4 - 0.1j, dtype=torch.complex128)
    common = {"steps": 9, "lam": 0.7, "zeta": 0.6, "temperature": 0.8, "cg_iterations": 40, "integrator": integrator}
    latents = GaussianLatents(SPACE, 0.3, 0.5, gain=gain)
    ours = LatentZDDS(**common, every=1, sigma_max=2.0, sigma_min=0.02)
    found = run(ours.solve(measured(), latents, start, Mirrored(4))).estimate
    images = GaussianPrior(SPACE, 0.3 * gain, 0.5 * gain)
    theirs = ZDDS(**common, sigma_max=2.0 * gain, sigma_min=0.02 * gain)
    expected = run(theirs.solve(measured(), images, start, NOISE)).estimate
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_error_of_the_autoencoder_gives_way_to_the_data():
    """At the last level all that is left of the prior's weight is ``lam / error^2``."""
    start = torch.zeros(1, *SPACE.shape, dtype=torch.complex128)
    likelihood, error, sigma = measured(), 0.3, 0.02
    prior = GaussianLatents(SPACE, 0.3, 0.5, gain=2.0, error=error)
    solver = LatentZDDS(steps=1, lam=1.0, temperature=0.0, sigma_max=sigma, sigma_min=sigma, cg_iterations=40)
    found = run(solver.solve(likelihood, prior, start, NOISE)).estimate
    v = 2 * (0.3 - 0.25 / (0.25 + sigma**2) * 0.3) * torch.ones_like(start)
    W = likelihood.operator.diagonal.abs().square() / 0.2**2
    w = 1 / (4 * sigma**2 + error**2)
    torch.testing.assert_close(found, (W * (1.1 - 0.4j) + w * v) / (W + w), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("integrator", ["ddim", "dpm++2m", "gradient-estimation"])
def test_it_resumes_between_looks_at_the_data(integrator):
    start = torch.zeros(1, *SPACE.shape, dtype=torch.complex128)
    solver = LatentZDDS(steps=7, every=3, zeta=0.2, sigma_max=1.0, integrator=integrator)
    prior = GaussianLatents(SPACE, gain=2.0, error=0.1)
    steps = list(solver.solve(measured(), prior, start, NOISE))
    for at in (0, 1, 4):
        rest = list(solver.solve(measured(), prior, start, NOISE, steps[at].state))
        assert torch.equal(rest[-1].estimate, steps[-1].estimate)
    looks = [not torch.equal(a.estimate, b.estimate) for a, b in pairwise(steps)]
    assert looks == [False, False, True, False, False, True]


@pytest.mark.parametrize("prior", [None, GaussianPrior(SPACE)])
def test_priors_of_images_are_refused(prior):
    start = torch.zeros(1, *SPACE.shape, dtype=torch.complex128)
    with pytest.raises(ComponentMissing, match="E-SOL-30"):
        run(LatentZDDS().solve(measured(), prior, start, NOISE))
