"""The competitor without diffusion: one call of its network, and a data step on request."""

from __future__ import annotations

import pytest
import torch

from medldm.errors import ComponentMissing
from medldm.inference import Gaussian, Noise, PhaseFrozen, run
from medldm.operators import Diagonal, Identity, Space
from medldm.testing.closed_form import AffineRegressor, GaussianPrior
from medldm_solvers.dps import DPS
from medldm_solvers.supervised import Supervised
from medldm_solvers.zdds import ZDDS

SPACE = Space(("z", "y", "x"), (2, 3, 4), torch.float64)
START = torch.linspace(0.1, 1, 24, dtype=torch.float64).reshape(1, 2, 3, 4)
NOISE = Noise(1)


def test_alone_it_is_one_call_of_the_network():
    y = torch.full(SPACE.shape, 5.0, dtype=torch.float64)
    regressor = AffineRegressor(SPACE, 0.8, 0.1)
    step = run(Supervised().solve(Gaussian(Identity(SPACE), y, 0.1), regressor, START, NOISE))
    assert (step.total, step.sigma) == (1, None)
    torch.testing.assert_close(step.estimate, 0.8 * START + 0.1)


@pytest.mark.parametrize("error", [0.02, 0.3])
def test_the_data_step_weighs_the_stated_error_against_the_noise(error):
    d, std = torch.linspace(0.5, 2, 24, dtype=torch.float64).reshape(SPACE.shape), 0.1
    y = torch.full(SPACE.shape, 0.7, dtype=torch.float64)
    solver = Supervised(data_step=True, error=error, cg_iterations=50)
    likelihood = Gaussian(Diagonal(SPACE, d), y, std)
    found = run(solver.solve(likelihood, AffineRegressor(SPACE, 0.8, 0.1), START, NOISE)).estimate
    v, data, weight = 0.8 * START + 0.1, d**2 / std**2, error**-2
    torch.testing.assert_close(found, (d * y / std**2 + weight * v) / (data + weight), rtol=1e-4, atol=1e-5)


def test_of_a_complex_image_the_network_sees_the_part_in_phase():
    phase = torch.polar(torch.ones(SPACE.shape, dtype=torch.float64), torch.full(SPACE.shape, 0.7, dtype=torch.float64))
    prior = PhaseFrozen(AffineRegressor(SPACE, 0.5, 0.2), phase)
    start = phase * (START + 0.3j)
    complex_space = Space(("z", "y", "x"), SPACE.shape, torch.complex128)
    likelihood = Gaussian(Identity(complex_space), start[0], 0.1)
    found = run(Supervised().solve(likelihood, prior, start, NOISE)).estimate
    torch.testing.assert_close(found, phase * (0.5 * START + 0.2))


@pytest.mark.parametrize(("prior", "given"), [(None, "none is given"), (GaussianPrior(SPACE), "diffusion prior")])
def test_it_takes_no_diffusion_prior(prior, given):
    likelihood = Gaussian(Identity(SPACE), START[0], 0.1)
    with pytest.raises(ComponentMissing, match=rf"E-SOL-23.*{given}"):
        run(Supervised().solve(likelihood, prior, START, NOISE))


@pytest.mark.parametrize("solver", [ZDDS(), DPS()], ids=lambda solver: type(solver).__name__)
def test_diffusion_solvers_take_no_regressor(solver):
    likelihood = Gaussian(Identity(SPACE), START[0], 0.1)
    with pytest.raises(ComponentMissing, match=r"E-SOL-20.*regressor"):
        run(solver.solve(likelihood, AffineRegressor(SPACE, 1.0), START, NOISE))
