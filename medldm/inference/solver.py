"""What a solver is, and the one loop that drives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from medldm.inference.likelihood import Likelihood
from medldm.inference.noise import Noise
from medldm.inference.prior import DiffusionPrior


@dataclass(frozen=True, eq=False)
class Step:
    """What a solver yields after each iteration.

    Attributes:
        index, total: 0-based iteration and how many there will be.
        sigma: noise level of a diffusion solver; None for classical ones.
        sample: the iterate in the solver's own space, sample axis in front.
        estimate: the best image so far, ``(sample, z, y, x)``.
        state: all that the loop needs to go on from here (duals, momenta); tensors only.
    """

    index: int
    total: int
    sigma: float | None
    sample: Tensor
    estimate: Tensor
    state: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Solver(Protocol):
    """One published algorithm: a frozen dataclass of the paper's hyper-parameters with one generator.

    Class variables say what may be done with a solver that uses a prior: ``exact = True``, its samples are those of the
    posterior and it is refused with any slice coherence, and with slices of planes by turns; ``proximal = False``, it
    takes no proximal step of the likelihood, so a coupling of slices would have no effect (a property where that
    depends on its options); ``trial_steps``, so many of its ``steps`` are enough to judge its prior by (see
    :mod:`medldm.pipeline.trial`); without it all are taken; ``draws_samples = False``, it seeks one image, and several
    runs of it are no samples.
    """

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield a :class:`Step` per iteration.

        Args:
            likelihood: of the measurement given the image.
            prior: a diffusion prior, None for classical solvers.
            start: first image ``(sample, z, y, x)``.
            noise: all randomness.
            state: the ``state`` of the last step of an interrupted run, to go on after it.
        """
        ...


def is_exact(solver: Solver | type[Solver]) -> bool:
    """Whether a solver says that its samples are those of the posterior."""
    return bool(getattr(solver, "exact", False))


def is_proximal(solver: Solver) -> bool:
    """Whether a solver takes proximal steps of the likelihood with the options that it has."""
    return bool(getattr(solver, "proximal", True))


def draws_samples(solver: Solver | type[Solver]) -> bool:
    """Whether several runs of a solver are samples; one that seeks a single image says that they are not."""
    return bool(getattr(solver, "draws_samples", True))


Observer = Callable[[Step], Any]


def run(steps: Iterator[Step], *observers: Observer) -> Step:
    """Drive a solver to its end and return the last step.

    Args:
        steps: what ``solve`` returned.
        observers: called after each step (progress, recording, saving); one that returns False stops the run.
    """
    last: Step | None = None
    for step in steps:
        last = step
        answers = [observer(step) for observer in observers]
        if any(answer is False for answer in answers):
            break
    if last is None:
        raise ValueError("the solver yielded no step: its number of iterations is zero")
    return last
