"""Laws of solvers, on a problem whose answer is known."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from medldm.inference import Likelihood, Noise, Step, is_proximal
from medldm.testing.examples import SolverExample
from medldm.testing.law import NotApplicable, require, require_close

SolverLaw = Callable[[SolverExample], None]

NOISE = Noise(7, "conformance")
# Resuming and batching change the order of sums, and iterations amplify rounding.
REPEATED = 1e-4


def steps(example: SolverExample, start: Tensor | None = None, noise: Noise = NOISE) -> list[Step]:
    """All steps of the solver, their tensors copied so that later iterations cannot change them."""
    begin = example.start if start is None else start
    found = []
    for step in example.solver.solve(example.likelihood, example.prior, begin, noise):
        state = {name: tensor.clone() for name, tensor in step.state.items()}
        found.append(Step(step.index, step.total, step.sigma, step.sample.clone(), step.estimate.clone(), state))
    return found


def law_recovers_the_truth(example: SolverExample) -> None:
    """The last estimate is the known answer, within the example's tolerance."""
    estimate = steps(example)[-1].estimate
    truth = example.truth.expand_as(estimate)
    require_close(estimate, truth, example.tolerance, "the solver does not recover the truth")


def law_does_more_than_the_start(example: SolverExample) -> None:
    """An example that starts at the answer, or has a tolerance that the start meets, proves nothing."""
    error = torch.linalg.vector_norm(example.start - example.truth) / torch.linalg.vector_norm(example.truth)
    require(
        float(error) > example.tolerance,
        f"the start image is within the tolerance already ({float(error):.2g} <= {example.tolerance:.2g})",
    )


def law_yields_every_step(example: SolverExample) -> None:
    """Indices run from 0 to ``total - 1``, and ``total`` does not change."""
    found = steps(example)
    indices, totals = [step.index for step in found], {step.total for step in found}
    require(len(totals) == 1, f"total changes between steps: {sorted(totals)}")
    require(
        indices == list(range(found[0].total)), f"{len(found)} steps with indices {indices[:5]}..., expected 0..total-1"
    )


def law_estimates_fit(example: SolverExample) -> None:
    """Every estimate is finite, ``(sample, z, y, x)``, and on the start image's device and of its kind."""
    for step in steps(example):
        estimate = step.estimate
        require(
            estimate.shape == example.start.shape,
            f"step {step.index}: estimate of shape {tuple(estimate.shape)}, start {tuple(example.start.shape)}",
        )
        require(bool(torch.isfinite(estimate).all()), f"step {step.index}: the estimate is not finite")
        require(estimate.dtype == example.start.dtype, f"step {step.index}: estimate {estimate.dtype}")


def law_keeps_no_graph(example: SolverExample) -> None:
    """What a step yields is cut from automatic differentiation: a kept step holds no network's activations."""
    for step in example.solver.solve(example.likelihood, example.prior, example.start, NOISE):
        tensors = {"sample": step.sample, "estimate": step.estimate, **step.state}
        tied = [name for name, tensor in tensors.items() if isinstance(tensor, Tensor) and tensor.requires_grad]
        require(not tied, f"step {step.index}: these ask for gradients: {', '.join(tied)}")


def law_state_is_tensors(example: SolverExample) -> None:
    """The state can be saved: names and tensors only."""
    for step in example.solver.solve(example.likelihood, example.prior, example.start, NOISE):
        wrong = [name for name, value in step.state.items() if not isinstance(value, Tensor)]
        require(not wrong, f"step {step.index}: the state holds other things than tensors: {wrong}")


def law_resumes(example: SolverExample) -> None:
    """Going on from the state of any step ends where the uninterrupted run ends."""
    found = steps(example)
    if len(found) < 2:
        raise NotApplicable("the solver has one step")
    for at in sorted({0, (len(found) - 1) // 2, len(found) - 2}):
        state = {name: tensor.clone() for name, tensor in found[at].state.items()}
        rest = list(example.solver.solve(example.likelihood, example.prior, example.start, NOISE, state))
        indices = [step.index for step in rest]
        require(indices == list(range(at + 1, len(found))), f"resumed after step {at}, the steps are {indices[:5]}...")
        require_close(rest[-1].estimate, found[-1].estimate, REPEATED, f"resumed after step {at}, the result differs")


def law_reproducible(example: SolverExample) -> None:
    """Equal noise gives equal results, to the last bit."""
    first, second = steps(example)[-1].estimate, steps(example)[-1].estimate
    require(torch.equal(first, second), "two runs with equal noise differ")


def law_inputs_unchanged(example: SolverExample) -> None:
    """The start image and the measurement are as they were."""
    start, measurement = example.start.clone(), example.likelihood.measurement.clone()
    steps(example)
    require(torch.equal(start, example.start), "the solver changed the start image")
    require(torch.equal(measurement, example.likelihood.measurement), "the solver changed the measurement")


def law_samples_do_not_mix(example: SolverExample) -> None:
    """A sample's result does not depend on what it is batched with."""
    alone = steps(example)[-1].estimate
    other = 0.5 * example.start[:1] + 0.1 * example.truth.abs().max()
    together = steps(example, torch.cat((example.start, other)))[-1].estimate
    require_close(together[: len(alone)], alone, REPEATED, "a second sample changes the first")


def law_samples_keep_their_numbers(example: SolverExample) -> None:
    """A sample is the same drawn alone or in a group, and no two share noise: each draws by its own number.

    Samples 3 and 4, together and each alone; the iterates of all steps, since an estimate may have forgotten its noise.
    """
    start = example.start[:1]
    together = steps(example, torch.cat((start, start)), NOISE.from_sample(3))
    watched = [_Watched(NOISE.seed, NOISE.case, first_sample=number) for number in (3, 4)]
    for at, noise in enumerate(watched):
        alone = steps(example, start.clone(), noise)
        pairs = [(one.sample, both.sample) for one, both in zip(alone, together, strict=True)]
        pairs.append((alone[-1].estimate, together[-1].estimate))
        for one, both in pairs:
            sentence = "a sample drawn alone is another than drawn in a group with the same number"
            require_close(one, both[at : at + 1], REPEATED, sentence)
    # Without a prior there are no samples, and the probe of a step length may be any noise.
    shared = watched[0].drawn & watched[1].drawn if example.prior is not None else set()
    require(
        not shared, f"two samples draw the same noise, e.g. (child, purpose, step, sample) {min(shared, default=())}"
    )


@dataclass(frozen=True)
class _Watched(Noise):
    """Noise that keeps the addresses of what it draws like images, its children's and those of other samples too."""

    drawn: set[tuple[str, str, int, int]] = field(default_factory=set, kw_only=True, compare=False)

    def like(self, x: Tensor, purpose: str, *, step: int) -> Tensor:
        numbers = range(self.first_sample, self.first_sample + len(x))
        self.drawn.update((self.branch, purpose, step, number) for number in numbers)
        return super().like(x, purpose, step=step)


def law_proximal_as_declared(example: SolverExample) -> None:
    """With a prior: takes the likelihood's proximal step, where slices are coupled, or says ``proximal = False``."""
    if example.prior is None:
        raise NotApplicable("the solver uses no prior, and slice coherence takes no part in it")
    likelihood, calls = _counting(example.likelihood)
    list(example.solver.solve(likelihood, example.prior, example.start, NOISE))
    declared = is_proximal(example.solver)
    sentence = "takes no proximal step: say 'proximal: ClassVar[bool] = False'" if declared else "does take one"
    require(bool(calls) == declared, f"the solver says proximal = {declared}, and it {sentence}")


def law_trial_steps_has_steps(example: SolverExample) -> None:
    """A class that says how few of its ``steps`` are enough to judge its prior by has an integer field ``steps``."""
    solver: Any = example.solver
    enough = getattr(type(solver), "trial_steps", None)
    if enough is None:
        raise NotApplicable("the solver does not say trial_steps: its prior is tried with all of its steps")
    require(isinstance(enough, int) and enough > 0, f"trial_steps is {enough!r}, not a positive whole number")
    of_options = {field.name for field in fields(solver)}
    steps = getattr(solver, "steps", None)
    require(
        "steps" in of_options and isinstance(steps, int),
        "the class says trial_steps, and it has no integer field 'steps' that the trial could set",
    )


def _counting(likelihood: Likelihood) -> tuple[Likelihood, list[float]]:
    """The same likelihood, of the same kind, and the weights of the proximal steps that it will be asked for."""
    kind: Any = type(likelihood)
    weights: list[float] = []

    def prox(self: Any, v: Tensor, weight: float, *terms: Any, **options: Any) -> Tensor:
        weights.append(weight)
        result: Tensor = kind.prox(self, v, weight, *terms, **options)
        return result

    same = copy.copy(likelihood)
    object.__setattr__(same, "__class__", type(kind.__name__, (kind,), {"prox": prox}))
    return same, weights


SOLVER_LAWS: tuple[SolverLaw, ...] = (
    law_does_more_than_the_start,
    law_recovers_the_truth,
    law_yields_every_step,
    law_estimates_fit,
    law_state_is_tensors,
    law_keeps_no_graph,
    law_proximal_as_declared,
    law_trial_steps_has_steps,
    law_resumes,
    law_reproducible,
    law_inputs_unchanged,
    law_samples_do_not_mix,
    law_samples_keep_their_numbers,
)
