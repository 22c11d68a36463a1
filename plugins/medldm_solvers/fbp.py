"""Filtered back-projection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from medldm.errors import ComponentMissing
from medldm.inference import DiffusionPrior, HasFilteredAdjoint, Likelihood, Noise, Step
from medldm_solvers.linear_data import quadratic
from medldm_solvers.references import KAK_SLANEY


@dataclass(frozen=True)
class FilteredBackProjection:
    """The operator's own filtered adjoint, in one step (Kak and Slaney 1988, chapter 3).

    Which filter, arc and detector weights are right is known to the physics; this solver only asks for them.

    Attributes:
        filter: window of the ramp filter, as the operator names them (``"hann"``, ``"ram-lak"``, ...).
    """

    references: ClassVar[tuple[str, ...]] = (KAK_SLANEY,)

    filter: str = "hann"

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield one step; ``prior``, ``noise`` and ``state`` do not matter."""
        data = quadratic(likelihood)
        if not isinstance(data.operator, HasFilteredAdjoint):
            raise ComponentMissing(
                "E-SOL-01",
                f"Filtered back-projection does not run on {data.operator.name}.",
                why="The operator brings no filtered adjoint.",
                fix="Choose another solver, e.g. cgls or tv, or a physics of parallel or fan beams.",
            )
        image = data.operator.filtered_adjoint(self.filter)(data.measurement)
        estimate = image.expand(start.shape).clone()
        yield Step(index=0, total=1, sigma=None, sample=estimate, estimate=estimate)
