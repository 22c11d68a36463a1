"""A solver of real images for complex ones whose phase is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from medldm.inference.likelihood import Likelihood
from medldm.inference.noise import Noise
from medldm.inference.prior import DiffusionPrior
from medldm.inference.solver import Solver, Step
from medldm.inference.weighted_least_squares import WeightedLeastSquares
from medldm.operators import PhaseConstrained


@dataclass(frozen=True, eq=False)
class OfKnownPhase:
    """The solver on ``r``, real, of images ``u = p r``, whose phase ``p`` it is told.

    Attributes:
        solver: classical.
        phase: ``p``, (z, y, x), unit complex numbers; zero where there is no image.
    """

    solver: Solver
    phase: Tensor

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """The solver's own steps, as complex images; its state is of real ones.

        Raises:
            TypeError: the likelihood is not one of weighted least squares.
        """
        if not isinstance(likelihood, WeightedLeastSquares):
            raise TypeError(f"a known phase goes with weighted least squares, not with {type(likelihood).__name__}")
        real = PhaseConstrained(likelihood.operator, self.phase)
        steps = self.solver.solve(replace(likelihood, operator=real), prior, real.real_part(start), noise, state)
        for step in steps:
            yield replace(step, sample=self.phase * step.sample, estimate=self.phase * step.estimate)
