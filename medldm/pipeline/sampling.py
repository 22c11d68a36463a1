"""A solver run to its end once for every sample, as one run that can be saved and resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.inference import Solver, Step, draws_samples
from medldm.inference.misfit import slice_chi
from medldm.pipeline.checks import check_chi, check_finite
from medldm.pipeline.chosen_prior import ChosenPrior
from medldm.pipeline.ensemble import Ensemble
from medldm.pipeline.problem import Problem
from medldm.pipeline.recipe import Recipe

_OURS = "samples."


class Sampling:
    """Samples of a problem, drawn in groups of as many as the memory holds.

    A sample's draws are addressed by its number: neither how many there are nor how they are grouped changes it, but
    for the rounding of sums. Its fit to the measurement is taken when it is whole.

    Args:
        solver: that draws them. Every loop of it must reach its last step, which
            :class:`medldm.pipeline.checked_solver.CheckedSolver` sees to: a group is begun again until it is whole.
        problem: with the start of one sample, where every one begins.
        samples: how many.
        at_once: how many in a group.
    """

    def __init__(self, solver: Solver, problem: Problem, samples: int = 1, at_once: int = 1) -> None:
        self.solver, self.problem, self.samples, self.at_once = solver, problem, samples, at_once
        self._drawn: Ensemble | None = None

    @property
    def drawn(self) -> Ensemble:
        """The samples that are whole."""
        if self._drawn is None:
            raise ValueError("no sample is whole yet")
        return self._drawn

    def steps(self, state: Mapping[str, Tensor] | None = None) -> Iterator[Step]:
        """The solver's steps, group after group; ``index`` and ``total`` count those of single samples.

        Args:
            state: of a step yielded earlier, to go on after it.
        """
        inner, group = self._restored(state or {})
        problem = self.problem
        if self._drawn is not None and self._drawn.count == self.samples:
            # All were whole when the state was saved.
            mean = self._drawn.estimate[None]
            yield Step(self.samples - 1, self.samples, None, mean, mean, self._state({}, 0))
        while (first := 0 if self._drawn is None else self._drawn.count) < self.samples:
            many = group or min(self.at_once, self.samples - first)
            start = problem.start.expand(many, *problem.start.shape[1:]).clone()
            noise = problem.noise.from_sample(first)
            for step in self.solver.solve(problem.likelihood, problem.prior, start, noise, inner or None):
                whole = step.index + 1 == step.total
                if whole:
                    self._add(step.estimate)
                yield Step(
                    first * step.total + (step.index + 1) * many - 1,
                    self.samples * step.total,
                    step.sigma,
                    step.sample,
                    step.estimate,
                    self._state({} if whole else step.state, many),
                )
            inner, group = {}, 0

    def _add(self, estimate: Tensor) -> None:
        check_finite(estimate)
        problem = self.problem
        images = problem.on_scan(estimate)
        chi = problem.likelihood.chi(estimate)
        check_chi(chi)
        slices = slice_chi(problem.likelihood, estimate, problem.noise)
        for k in range(len(estimate)):
            one = Ensemble.of(estimate[k], images[k], chi[k], None if slices is None else slices[k])
            self._drawn = one if self._drawn is None else self._drawn.with_next(one)

    def _state(self, inner: Mapping[str, Tensor], group: int) -> dict[str, Tensor]:
        state = dict(inner)
        if inner:
            state[_OURS + "group"] = torch.tensor(group)
        if self._drawn is not None:
            state |= {_OURS + name: tensor for name, tensor in self._drawn.state().items()}
        return state

    def _restored(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
        """What the solver goes on from, and the size of its group; the samples that were whole come back."""
        ours = {name.removeprefix(_OURS): tensor for name, tensor in state.items() if name.startswith(_OURS)}
        group = int(ours.pop("group", 0))
        if ours:
            self._drawn = Ensemble.from_state(ours)
        return {name: tensor for name, tensor in state.items() if not name.startswith(_OURS)}, group


def check_samples(recipe: Recipe, prior: ChosenPrior | None) -> None:
    """Refuse several samples of a method that draws none.

    Raises:
        UsageError: E-UNC-01.
    """
    if recipe.samples > 1 and (prior is None or prior.card.regression is not None):
        raise UsageError(
            "E-UNC-01",
            f"{recipe.samples} samples are asked for, and the solver {recipe.solver['name']!r} draws none.",
            why="Without a diffusion prior there is one answer, and its spread over samples would be zero and mean "
            "nothing.",
            fix="Leave out --samples, or choose a solver with a diffusion prior.",
        )


def too_much_alike(solver: Solver, samples: int) -> str:
    """A sentence where several samples are none, or are drawn with less noise than samples have; else nothing.

    Args:
        solver: its ``temperature``, if it has one, is the noise it draws over that of a sample.
        samples: how many are asked for.
    """
    temperature = float(getattr(solver, "temperature", 1.0))
    if samples > 1 and not draws_samples(solver):
        return (
            "this solver seeks one image and draws no samples: its runs differ by the way they took, and their spread "
            "does not tell the error; the solver split-gibbs draws samples"
        )
    if samples == 1 or temperature >= 1:
        return ""
    return (
        f"the samples are drawn at temperature {temperature:g} and differ by too little for their spread to tell the "
        "error: solver.temperature=1 for samples, or the solver split-gibbs"
    )
