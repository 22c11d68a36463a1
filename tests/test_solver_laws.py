"""Each law of solvers, with and without a prior, fails for a solver broken in that way only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from law_scene import GRID, SPACE, VOLUME
from torch import Tensor

from medldm.inference import Denoiser, DiffusionPrior, Gaussian, LatentPrior, Likelihood, Noise, Step
from medldm.inference.slicewise import SlicewisePrior
from medldm.operators import Diagonal, Space
from medldm.testing import SolverExample, contracts, solver_laws
from medldm.testing.closed_form import GaussianNetwork, OrthonormalAutoencoder


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum (Polyak 1964): the momentum must be part of the state."""

    iterations: int = 60
    broken: str = ""

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        u, velocity, first = start, torch.zeros_like(start), 0
        if state is not None:
            u, first = state["u"], int(state["step"]) + 1
            velocity = torch.zeros_like(start) if self.broken == "state" else state["velocity"]
        for k in range(first, self.iterations):
            gradient = likelihood.gradient(u)
            if self.broken == "mix":
                gradient = gradient + 0.05 * (u - u.mean(0, keepdim=True))
            velocity = 0.5 * velocity - 0.4 * gradient
            if self.broken == "start" and k == 0:
                u += velocity
            else:
                u = u + velocity
            if self.broken == "random":
                u = u + 1e-3 * torch.rand(1)
            index = k if self.broken != "index" else 2 * k
            kept: dict[str, Any] = {"u": u, "velocity": velocity, "step": torch.tensor(k)}
            if self.broken == "names":
                kept["name"] = "momentum"
            estimate = u[0] if self.broken == "shape" else u
            yield Step(index, self.iterations, None, u, estimate, kept)


def problem(broken: str = "", iterations: int = 60) -> SolverExample:
    truth = VOLUME.data[None]
    full = Diagonal(SPACE, torch.linspace(0.5, 1.0, 60).reshape(GRID.shape))
    return SolverExample(
        Momentum(iterations, broken), Gaussian(full, full(truth[0]), std=1.0), torch.zeros_like(truth), truth, 1e-2
    )


class TestMomentum(contracts.SolverContract):
    @pytest.fixture
    def example(self) -> SolverExample:
        return problem()


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (solver_laws.law_yields_every_step, "index"),
        (solver_laws.law_estimates_fit, "shape"),
        (solver_laws.law_state_is_tensors, "names"),
        (solver_laws.law_resumes, "state"),
        (solver_laws.law_reproducible, "random"),
        (solver_laws.law_inputs_unchanged, "start"),
        (solver_laws.law_samples_do_not_mix, "mix"),
    ],
)
def test_a_broken_solver_is_found(law: solver_laws.SolverLaw, broken: str) -> None:
    with pytest.raises(AssertionError):
        law(problem(broken, iterations=8))


def test_a_solver_that_does_not_arrive_is_found() -> None:
    with pytest.raises(AssertionError):
        solver_laws.law_recovers_the_truth(problem(iterations=2))
    with pytest.raises(AssertionError):
        solver_laws.law_does_more_than_the_start(replace(problem(), start=problem().truth))


@dataclass(frozen=True)
class Renoising:
    """Denoise, pull towards the measurement, add noise again: the state is that of the prior, here a latent."""

    broken: str = ""

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        assert prior is not None
        levels = [5.0, 1.0, 0.3, 0.1, 0.0]
        if state is not None:
            z, first = state["z"], int(state["index"]) + 1
        else:
            z, first = prior.encode(start), 0
            z = z + levels[0] * noise.like(z, "start", step=0)
        for k in range(first, 4):
            sigma = torch.full((len(z),), levels[k])
            z = z.requires_grad_(self.broken == "graph")
            clean = prior.decode(prior.denoise(z, sigma))
            if self.broken == "mix":
                clean = clean + 0.05 * (clean - clean.mean(0, keepdim=True))
            estimate = clean if self.broken == "prox" else likelihood.prox(clean, 4.0, iterations=20)
            z = prior.encode(estimate)
            z = z + levels[k + 1] * noise.like(z, "renoise", step=k)
            yield Step(k, 4, levels[k], z, estimate, {"z": z, "index": torch.tensor(k)})


MEAN = 0.3


def latent_problem(broken: str = "", std: float = 1e-3) -> SolverExample:
    """Independent Gaussian latents under a decoder that loses nothing: so is the image, and its last step is known."""
    shape = (3, 4, 6)
    space = Space(("z", "y", "x"), shape)
    autoencoder = OrthonormalAutoencoder()
    mean = autoencoder.moments(torch.full((1, 1, 4, 6), MEAN))[0][0]
    latent = LatentPrior(
        Denoiser(GaussianNetwork.edm(mean, std), GaussianNetwork.edm().parametrization), autoencoder, (4, 6)
    )
    y = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    # Behind a sharp prior the denoised image is the mean, and the step weighs it 4 to 1 / 0.5^2.
    truth = (4 * MEAN + 4 * y) / 8
    prior = SlicewisePrior(latent, 3)
    return SolverExample(
        Renoising(broken),
        Gaussian(Diagonal(space, torch.ones(())), y, 0.5),
        torch.zeros(1, *shape),
        truth[None],
        1e-3,
        prior,
    )


class TestRenoising(contracts.SolverContract):
    @pytest.fixture
    def example(self) -> SolverExample:
        return latent_problem()


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (solver_laws.law_keeps_no_graph, "graph"),
        (solver_laws.law_proximal_as_declared, "prox"),
        (solver_laws.law_samples_do_not_mix, "mix"),
    ],
)
def test_a_broken_solver_with_a_prior_is_found(law: solver_laws.SolverLaw, broken: str) -> None:
    with pytest.raises(AssertionError):
        law(latent_problem(broken, std=0.5))
