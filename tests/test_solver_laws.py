"""Each law of solvers fails for a solver broken in that way, and no other does but as a consequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from law_scene import GRID, SPACE, VOLUME, failing, names
from torch import Tensor

from medldm.inference import Denoiser, DiffusionPrior, Gaussian, LatentPrior, Likelihood, Noise, Step
from medldm.inference.slicewise import SlicewisePrior
from medldm.operators import Diagonal, Space
from medldm.testing import SolverExample, contracts, solver_laws
from medldm.testing.closed_form import GaussianNetwork, OrthonormalAutoencoder

# The answer is reached to within the tolerance, but not so closely that a run forgets how it began.
ITERATIONS = 16


class Label(str):
    """No tensor, but copied like one, so that the laws which copy states can be tested."""

    def clone(self) -> Label:
        return self


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum (Polyak 1964): the momentum must be part of the state."""

    iterations: int = ITERATIONS
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
                gradient = gradient + 0.3 * (u - u.mean(0, keepdim=True))
            velocity = 0.5 * velocity - 0.4 * gradient
            if self.broken == "start" and k == 0:
                u += velocity
            else:
                u = u + velocity
            if self.broken == "random":
                u = u + 1e-6 * torch.rand(1)
            kept: dict[str, Any] = {"u": u, "velocity": velocity, "step": torch.tensor(k)}
            if self.broken == "names":
                kept["name"] = Label("momentum")
            index = 2 * k if self.broken == "index" else k
            total = self.iterations + (k if self.broken == "total" else 0)
            yield Step(index, total, None, u, self.estimate(u, k), kept)

    def estimate(self, u: Tensor, step: int) -> Tensor:
        """What the first step yields may be broken: the last is what the other laws compare."""
        if step > 0:
            return u
        estimates = {"shape": u[0], "dtype": u.double(), "infinite": u / 0.0}
        return estimates.get(self.broken, u)


@dataclass(frozen=True)
class Hasty(Momentum):
    """It says that few of its steps are enough, and calls them otherwise."""

    trial_steps: ClassVar[int] = 4


def problem(broken: str = "") -> SolverExample:
    truth = VOLUME.data[None].clone()
    full = Diagonal(SPACE, torch.linspace(0.5, 1.0, 60).reshape(GRID.shape))
    iterations = 4 if broken == "early" else ITERATIONS
    start = truth.clone() if broken == "answer" else torch.zeros_like(truth)
    kind = Hasty if broken == "trial" else Momentum
    return SolverExample(kind(iterations, broken), Gaussian(full, full(truth[0]), std=1.0), start, truth, 1e-2)


class TestMomentum(contracts.SolverContract):
    @pytest.fixture
    def example(self) -> SolverExample:
        return problem()


BROKEN: list[tuple[solver_laws.SolverLaw, str, list[solver_laws.SolverLaw]]] = [
    (solver_laws.law_does_more_than_the_start, "answer", []),
    (solver_laws.law_recovers_the_truth, "early", []),
    (solver_laws.law_yields_every_step, "total", []),
    # A run that goes on does so at other numbers, too.
    (solver_laws.law_yields_every_step, "index", [solver_laws.law_resumes]),
    (solver_laws.law_estimates_fit, "shape", []),
    (solver_laws.law_estimates_fit, "dtype", []),
    (solver_laws.law_estimates_fit, "infinite", []),
    (solver_laws.law_state_is_tensors, "names", []),
    (solver_laws.law_resumes, "state", []),
    (solver_laws.law_reproducible, "random", []),
    # The second run of an example starts where the first has left the start image.
    (
        solver_laws.law_inputs_unchanged,
        "start",
        [solver_laws.law_reproducible, solver_laws.law_samples_do_not_mix],
    ),
    (solver_laws.law_samples_do_not_mix, "mix", []),
    (solver_laws.law_trial_steps_has_steps, "trial", []),
]


@pytest.mark.parametrize(("law", "broken", "consequences"), BROKEN)
def test_a_broken_solver_breaks_its_law_and_no_other(
    law: solver_laws.SolverLaw, broken: str, consequences: list[solver_laws.SolverLaw]
) -> None:
    assert failing(solver_laws.SOLVER_LAWS, lambda: (problem(broken),)) == names(law, *consequences)


@pytest.mark.parametrize("iterations", [2, 3])
def test_solvers_of_few_steps_resume_or_fail_the_law(iterations: int) -> None:
    solver_laws.law_resumes(replace(problem(), solver=Momentum(iterations)))
    with pytest.raises(AssertionError, match="the result differs"):
        solver_laws.law_resumes(replace(problem(), solver=Momentum(iterations, "state")))


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
            weight = 4.0 / len(clean) if self.broken == "mix" else 4.0
            estimate = clean if self.broken == "prox" else likelihood.prox(clean, weight, iterations=20)
            z = prior.encode(estimate)
            drawn = noise.from_sample(0) if self.broken == "number" else noise
            z = z + levels[k + 1] * drawn.like(z, "renoise", step=k)
            if self.broken == "neighbour":
                z = z + levels[k + 1] * noise.from_sample(noise.first_sample + 1).like(z, "renoise", step=k)
            yield Step(k, 4, levels[k], z, estimate, {"z": z, "index": torch.tensor(k)})


MEAN = 0.3


def latent_problem(broken: str = "") -> SolverExample:
    """Independent Gaussian latents under a decoder that loses nothing: so is the image, and its last step is known."""
    shape = (3, 4, 6)
    space = Space(("z", "y", "x"), shape)
    autoencoder = OrthonormalAutoencoder()
    mean = autoencoder.moments(torch.full((1, 1, 4, 6), MEAN))[0][0]
    latent = LatentPrior(
        Denoiser(GaussianNetwork.edm(mean, 1e-3), GaussianNetwork.edm().parametrization), autoencoder, (4, 6)
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


BROKEN_WITH_A_PRIOR: list[tuple[solver_laws.SolverLaw, str, list[solver_laws.SolverLaw]]] = [
    (solver_laws.law_keeps_no_graph, "graph", []),
    # Without the proximal step the measurement has no say.
    (solver_laws.law_proximal_as_declared, "prox", [solver_laws.law_recovers_the_truth]),
    (solver_laws.law_samples_do_not_mix, "mix", [solver_laws.law_samples_keep_their_numbers]),
    (solver_laws.law_samples_keep_their_numbers, "number", []),
    (solver_laws.law_samples_keep_their_numbers, "neighbour", []),
]


@pytest.mark.parametrize(("law", "broken", "consequences"), BROKEN_WITH_A_PRIOR)
def test_a_broken_solver_with_a_prior_breaks_its_law_and_no_other(
    law: solver_laws.SolverLaw, broken: str, consequences: list[solver_laws.SolverLaw]
) -> None:
    assert failing(solver_laws.SOLVER_LAWS, lambda: (latent_problem(broken),)) == names(law, *consequences)


def test_each_law_of_solvers_has_something_that_breaks_it() -> None:
    assert {law for law, _, _ in (*BROKEN, *BROKEN_WITH_A_PRIOR)} == set(solver_laws.SOLVER_LAWS)
