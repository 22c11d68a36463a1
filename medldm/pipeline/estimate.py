"""How long a run will take, from a few steps of each of its loops on a few of its slices."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor

from medldm.data import Acquisition, Volume
from medldm.errors import InputRefused, UsageError
from medldm.host import Host
from medldm.inference import DiffusionPrior, Step
from medldm.inference.padding import Padding
from medldm.pipeline.chosen_prior import ChosenPrior, choose_prior
from medldm.pipeline.classical import start_steps
from medldm.pipeline.events import Teller
from medldm.pipeline.posing import device_named, pose
from medldm.pipeline.problem import problem_of
from medldm.pipeline.reading import case_hash
from medldm.pipeline.recipe import Recipe
from medldm.pipeline.simulate import measure
from medldm.pipeline.trial import contest_of
from medldm.priors.planes import planes_of
from medldm.priors.stacks import stack_axes

# Slices of the smaller and of the larger probe.
_FEW, _MORE = 4, 12
# Steps of a loop that are timed, after its first.
_STEPS = 2


def estimate_seconds(host: Host, recipe: Recipe, case: Volume | Acquisition, device: str = "auto") -> float:
    """Seconds that a reconstruction will take, from the first steps of start, trial and solver.

    An image is cut to few slices and to more, and times are taken to be straight lines in their number. A measurement
    cannot be cut without knowing its physics, nor an image that the networks look at along z, which take no thin one,
    nor one whose slices the physics couples, so that it refuses few of them: the steps are those of the whole. That the
    prior passes its trial is taken for granted.

    Raises:
        MedldmError: the scan as a whole is refused.
    """
    if isinstance(case, Acquisition) or case.grid.shape[0] <= _MORE:
        return _timed(host, recipe, case, device).total
    chosen = choose_prior(host, recipe, case)
    stacks = () if chosen is None else _stacks(chosen)
    if chosen is not None and (chosen.card.dimensions == 3 or stacks[0] != 0):
        return _timed(host, recipe, case, device).total
    probe = recipe
    if chosen is not None and len(stacks) > 1:
        # The probe is thin: it is seen in the scan's own plane, and the others are reckoned.
        probe = replace(recipe, prior={**recipe.prior, "plane": planes_of(chosen.plan.grid)[stacks[0]]})
    try:
        first, few, more = (_timed(host, probe, _middle(case, n), device) for n in (_FEW, _FEW, _MORE))
    except (UsageError, InputRefused):  # of so few slices; whether of all of them too, all of them tell
        return _timed(host, recipe, case, device).total
    further = (case.grid.shape[0] - _FEW) / (_MORE - _FEW)
    rest = few.rest + further * max(0.0, more.rest - few.rest)
    network = few.network + further * max(0.0, more.network - few.network)
    once = max(0.0, first.total - few.total)  # weights are read, kernels compiled
    return once + rest + network * (1.0 if chosen is None else _work_by_turns(chosen, stacks))


def _middle(case: Volume, slices: int) -> Volume:
    first = (case.grid.shape[0] - slices) // 2
    return case.cropped(slice(first, first + slices))


def _stacks(chosen: ChosenPrior) -> tuple[int, ...]:
    return stack_axes(chosen.card, chosen.plan.grid, chosen.section.plane)


def _work_by_turns(chosen: ChosenPrior, stacks: tuple[int, ...]) -> float:
    """Work of networks that see planes by turns over that in the first: slices are padded to what the networks take."""
    shape, size = chosen.plan.grid.shape, chosen.card.size
    work = []
    for stack in stacks:
        seen = tuple(n for axis, n in enumerate(shape) if axis != stack)
        padded = Padding.to_fit(seen, multiple=size.multiple, at_least=size.at_least).padded
        work.append(shape[stack] * math.prod(padded))
    return sum(work) / len(work) / work[0]


def _timed(host: Host, recipe: Recipe, case: Volume | Acquisition, device: str) -> _Clock:
    """Every part of a run, loops by their first steps."""
    clock = _Clock()
    with clock.running():
        acquisition = measure(host, recipe, case, Teller()) if isinstance(case, Volume) else case
        posed = pose(host, recipe, acquisition, case_hash(case), device_named(device))
        start = posed.start()
    refined = start_steps(host, recipe, posed, start)
    if refined is not None:
        start = clock.loop(refined)[0]
    with clock.running():
        problem = problem_of(posed, start)
        contest = contest_of(host, recipe, posed, problem, start, Teller())
    if contest is not None:
        clock.loop(contest.classical)
    prior = None if problem.prior is None else cast(DiffusionPrior, _Watched(problem.prior, clock))
    solver = posed.checked().solve(problem.likelihood, prior, problem.start, problem.noise)
    # The solver's loop in the trial is this one with fewer steps.
    tried = 0 if contest is None else next(contest.prior).total
    clock.loop(solver, times=recipe.samples, more=tried)
    return clock


class _Clock:
    """Seconds of a run: in all, and of those the networks' share."""

    def __init__(self) -> None:
        self.total = 0.0
        self.network = 0.0
        self.in_network = 0.0

    @property
    def rest(self) -> float:
        """Seconds outside the networks."""
        return self.total - self.network

    @contextmanager
    def running(self) -> Iterator[None]:
        """What runs within counts as it is."""
        begun = _now()
        yield
        self.total += _now() - begun

    def loop(self, steps: Iterator[Step], *, times: int = 1, more: int = 0) -> Tensor:
        """Count a whole loop by its first steps; returns their estimate ``(sample, z, y, x)``.

        Args:
            steps: the loop. Its first step counts as it is, with what is set up before it; the others by the mean of
                the next few.
            times: how often it runs.
            more: steps that run besides.
        """
        ticks, in_network, seen = [_now()], [self.in_network], []
        for step in islice(steps, 1 + _STEPS):
            ticks.append(_now())
            in_network.append(self.in_network)
            seen.append(step)
        begin = min(1, len(seen) - 1)  # a single step stands for itself
        further = times * (seen[-1].total - begin) + more

        def whole(marks: list[float]) -> float:
            return times * (marks[begin] - marks[0]) + further * (marks[-1] - marks[begin]) / (len(seen) - begin)

        self.total += whole(ticks)
        self.network += whole(in_network)
        return seen[-1].estimate


class _Watched:
    """A prior whose denoiser is timed."""

    def __init__(self, prior: DiffusionPrior, clock: _Clock) -> None:
        self._prior = prior
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prior, name)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        begun = _now()
        denoised = self._prior.denoise(x, sigma)
        self._clock.in_network += _now() - begun
        return denoised


def _now() -> float:
    """Seconds, when all that was asked of a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
