"""The prior on trial: it must predict withheld samples of the scan better than a classical method does.

A prior out of its depth makes images that look right. Before the reconstruction the solver, in as few steps as its
class says are enough (``trial_steps``), and the recipe's classical solver run on the measurement without a tenth of its
lines or views, and both predict that tenth. The share of the classical image that predicts best is mixed into every
estimate of the reconstruction: next to none where the prior knows what it sees, all of it where it does not.

A prior of magnitudes sees complex images through a phase taken from the measurement. Where it predicts badly, that
phase may be at fault, so it is tried again with room beside the phase, more and more while that predicts better.

Few steps are enough to believe a prior, not to give it up: before a classical image counts, the solver predicts with
all of its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from medldm.data import Event
from medldm.host import Host
from medldm.inference import DiffusionPrior, Likelihood, Noise, Solver, Step, is_exact, is_regressor, run
from medldm.inference.withheld import CanWithhold, mixing_share, residual, without
from medldm.pipeline.classical import classical_solver
from medldm.pipeline.events import Teller
from medldm.pipeline.posing import Posed
from medldm.pipeline.prior_section import knows_room
from medldm.pipeline.problem import Problem, problem_of
from medldm.pipeline.recipe import Recipe

# Shares of the classical image: below the first it is not worth its time, from the second on the prior is out of its
# depth, from the third on it takes no part.
_LEAST, _WARNED, _ALL = 0.1, 0.5, 0.8
_UNTRIED = "; --set classical=none believes it untried"
# Rooms beside the phase that are tried, standard deviations in the prior's unit.
_ROOMS = (0.02, 0.05)


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of it.

    Attributes:
        problem: as the prior predicted best, with room beside its phase or without.
        share: of the classical image, 0 to 1.
        misfit: of the prior's prediction over that of the classical method; below 1 the prior predicts better.
        without_room: misfit before room beside the phase was given; None where none was.
        classical: (z, y, x) in the problem's unit, from the whole measurement; None where its share is 0.
    """

    problem: Problem
    share: float
    misfit: float
    without_room: float | None = None
    classical: Tensor | None = None

    def leaning(self, solver: Solver) -> Solver:
        """The solver, its estimates mixed with the classical image."""
        return solver if self.classical is None else _Leaning(solver, self.share, self.classical)

    def as_record(self) -> dict[str, float]:
        """For ``run.json``."""
        before = {} if self.without_room is None else {"misfit_without_quadrature": round(self.without_room, 4)}
        return {"classical_share": round(self.share, 4), "misfit_to_classical": round(self.misfit, 4), **before}

    @property
    def events(self) -> tuple[Event, ...]:
        """For the history of the image."""
        return () if self.share == 0 else (Event("mix", self.as_record()),)


@dataclass(frozen=True, eq=False)
class Contest:
    """Both solvers on the measurement without what is withheld, as loops that have not begun.

    Attributes:
        prior: the diffusion solver, with the steps of a trial.
        classical: the recipe's classical solver.
        withheld: 1 for the samples that both have to predict, 0 for others.
    """

    prior: Iterator[Step]
    classical: Iterator[Step]
    withheld: Tensor


def contest_of(
    host: Host, recipe: Recipe, posed: Posed, problem: Problem, start: Tensor, tell: Teller
) -> Contest | None:
    """What a trial has to run; None where there is none. Arguments as those of :func:`trial_of`."""
    if problem.prior is None or not recipe.classical or is_exact(posed.solver):
        return None
    if is_regressor(problem.prior):
        tell("trial", "a regressor is not tried: the start image that it sees knows what would be withheld")
        return None
    if problem.to_scan is not None or not isinstance(posed.physics, CanWithhold):
        tell("trial", "this physics, or another grid than that of the scan, leaves no way to try the prior")
        return None
    classical = classical_solver(host, recipe, posed)
    withheld = posed.physics.withheld(posed.acquisition, posed.noise).to(start.device)
    if not bool((withheld != 0).any()):
        tell("trial", "nothing can be withheld of so few lines or views, so the prior is not tried")
        return None
    prior, scan_rest = _predicting(posed, problem, withheld), without(posed.likelihood, withheld)
    if prior is None or scan_rest is None:
        tell("trial", "this likelihood leaves no way to try the prior")
        return None
    # A start image of the classical solver's own making would make it begin where it ends.
    first = posed.start() if recipe.starts_at_classical else start
    return Contest(prior, classical.solve(scan_rest, None, first[None], posed.noise), withheld)


def trial_of(host: Host, recipe: Recipe, posed: Posed, problem: Problem, start: Tensor, tell: Teller) -> Trial | None:
    """Put the prior on trial; None where there is none, or nothing to try it against.

    Args:
        host: plugins.
        recipe: whose section ``classical`` names the classical solver.
        posed: the measurement.
        problem: as the solver sees it.
        start: image (z, y, x) at which both begin. It knows the withheld samples, under the noise at which the solver
            begins; what the classical solver keeps of it is in the prior's disfavour.
        tell: hears how it goes.
    """
    contest = contest_of(host, recipe, posed, problem, start, tell)
    if contest is None:
        return None
    watch = _watching(tell)

    def missed_by(loop: Iterator[Step] | None, seen_as: Problem | None) -> Tensor:
        u = run(cast(Iterator[Step], loop), watch).estimate
        return residual(posed.likelihood, u if seen_as is None else seen_as.on_scan(u), contest.withheld)

    def judged(missed: Tensor) -> tuple[float, float]:
        return _over(missed, missed_by_theirs), mixing_share(missed, missed_by_theirs)

    missed, missed_by_theirs = missed_by(contest.prior, problem), missed_by(contest.classical, None)
    (misfit, share), before = judged(missed), None
    for other in _with_room(posed, problem, start) if share >= _LEAST else ():
        found, its_share = judged(missed_by(_predicting(posed, other, contest.withheld), other))
        room = f"{other.record['quadrature']:g} of the prior's unit beside the phase"
        tell("trial", f"withheld samples: misfit {found:.2f} with {room}, {misfit:.2f} with less")
        if found >= misfit:
            break
        before, misfit, share, problem = misfit if before is None else before, found, its_share, other
    if share >= _LEAST and _quick(posed.solver) != posed.solver:
        # Few steps judge against a prior too often: from 20 views 12 of 50 took it for worse than total variation.
        loop = _predicting(posed, problem, contest.withheld, whole=True)
        found, share = judged(missed_by(loop, problem))
        tell("trial", f"withheld samples: misfit {found:.2f} with all steps of the solver, {misfit:.2f} with a part")
        misfit = found
    if share < _LEAST:
        tell("trial", f"withheld samples: misfit {misfit:.2f} of the classical method's, the prior is used as it is")
        return Trial(problem, 0.0, misfit, before)
    share = 1.0 if share >= _ALL else share
    if share >= _WARNED:
        tell(
            "warning",
            "the prior, as this solver uses it, is out of its depth on this scan: it misses withheld samples "
            f"{misfit:.2f} times as far as the classical method, whose image therefore counts {share:.0%}{_UNTRIED}",
        )
    else:
        tell("trial", f"withheld samples: misfit {misfit:.2f} of the classical method's, which counts {share:.0%}")
    whole = start[None]
    if not recipe.starts_at_classical:
        solver = classical_solver(host, recipe, posed)
        whole = run(solver.solve(posed.likelihood, None, start[None], posed.noise), watch).estimate
    return Trial(problem, share, misfit, before, ((whole - problem.offset) / problem.scale)[0])


def _over(missed: Tensor, missed_by_theirs: Tensor) -> float:
    return float(missed.abs().square().sum() / missed_by_theirs.abs().square().sum())


def _with_room(posed: Posed, problem: Problem, start: Tensor) -> Iterator[Problem]:
    """The problem with more and more room beside the phase, where there is a phase and the recipe leaves it open."""
    prior = posed.prior
    if prior is None or problem.record["phase"] != "frozen" or not knows_room(prior.chosen.card):
        return
    if prior.chosen.section.quadrature is None:
        for room in _ROOMS:
            yield problem_of(replace(posed, prior=prior.with_room(room)), start, len(problem.start))


def _predicting(posed: Posed, problem: Problem, withheld: Tensor, *, whole: bool = False) -> Iterator[Step] | None:
    """The solver on the problem without what is withheld; None where its likelihood cannot do without.

    It takes the steps that are enough to believe it by, or with ``whole`` all of its own.
    """
    rest = without(problem.likelihood, withheld)
    chosen = posed.checked(posed.solver if whole else _quick(posed.solver))
    return None if rest is None else chosen.solve(rest, problem.prior, problem.start, problem.noise)


def _quick(solver: Solver) -> Solver:
    """The solver with as few steps as its class says are enough to believe it by; without a word, with all of them.

    All of them too where it has no option ``steps``, or refuses so few with its other options.
    """
    settings: Any = solver
    enough, steps = getattr(type(solver), "trial_steps", None), getattr(solver, "steps", None)
    if enough is None or not isinstance(steps, int):
        return solver
    try:
        return cast(Solver, replace(settings, steps=min(enough, steps)))
    except Exception:  # whatever __post_init__ raises: a trial with all steps is as good, and takes longer
        return solver


def _watching(tell: Teller) -> Callable[[Step], None]:
    def watch(step: Step) -> None:
        tell("step", f"trial, step {step.index + 1} of {step.total}", index=step.index + 1, total=step.total)

    return watch


@dataclass(frozen=True, eq=False)
class _Leaning:
    """A solver whose estimates are mixed with a classical image; its loop knows nothing of it."""

    solver: Solver
    share: float
    classical: Tensor

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """The solver's own steps."""
        for step in self.solver.solve(likelihood, prior, start, noise, state):
            yield replace(step, estimate=torch.lerp(step.estimate, self.classical.expand_as(step.estimate), self.share))
