"""Simultaneous algebraic reconstruction technique."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from medldm.errors import ComponentMissing, UsageError
from medldm.inference import DiffusionPrior, HasSubsets, Likelihood, Noise, Step
from medldm.operators import LinearOperator
from medldm_solvers import references as papers
from medldm_solvers.linear_data import quadratic, relative_weights


@dataclass(frozen=True)
class SART:
    """SART (Andersen and Kak 1984), its correction applied once per subset of views.

    Attributes:
        sweeps: passes over all views; one step each.
        subsets: into how many parts the views are split; None means one view each, as in the paper.
        relaxation: factor of every correction, between 0 and 2.
        nonnegative: set negative values to zero after every correction.
        begin: from zero, as in the paper, or from the start image.
    """

    references: ClassVar[tuple[str, ...]] = (papers.SART,)

    sweeps: Annotated[int, Field(ge=1)] = 20
    subsets: Annotated[int, Field(ge=1)] | None = None
    relaxation: Annotated[float, Field(gt=0, lt=2)] = 0.7
    nonnegative: bool = True
    begin: Literal["zero", "start"] = "zero"

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield a step per sweep; the state is the image. ``prior`` does not matter."""
        data = quadratic(likelihood)
        operator, y = data.operator, data.measurement
        if operator.domain.is_complex:
            raise UsageError(
                "E-SOL-02",
                "SART reconstructs real images, and this operator maps complex ones.",
                why="Its corrections are weighted by sums of absorption lengths.",
                fix="Use cg-sense, l1-wavelet or tv.",
            )
        if not isinstance(operator, HasSubsets):
            raise ComponentMissing(
                "E-SOL-03",
                f"SART does not run on {operator.name}.",
                why="The operator does not split its measurement into subsets of views.",
                fix="Choose another solver, e.g. cgls or tv.",
            )
        axes = operator.codomain.axes
        split = axes.index("view") if "view" in axes else 1
        views = operator.codomain.shape[split]
        weights = relative_weights(data)
        measured = torch.ones_like(y) if weights is None else (weights > 0).to(y).expand_as(y)
        parts = [
            _Part.of(part, y.index_select(split, index), measured.index_select(split, index))
            for part, index in operator.subsets(min(self.subsets or views, views))
        ]

        u = state["u"] if state else (start.clone() if self.begin == "start" else torch.zeros_like(start))
        first = int(state["index"]) + 1 if state else 0
        for k in range(first, self.sweeps):
            # Neighbouring views are nearly parallel and undo little of each other's error: a random order converges
            # faster (Herman and Meyer 1993).
            for i in noise.stream("views", step=k).permutation(len(parts)):
                part = parts[i]
                residual = (part.measurement - part.operator(u)).mul_(part.per_ray)  # eq. (33): over each ray's length
                correction = part.operator.H(residual).mul_(part.per_voxel)  # eq. (33): mean over the rays of a voxel
                u = torch.add(u, correction, alpha=self.relaxation)
                if self.nonnegative:
                    u.clamp_(min=0)
            yield Step(k, self.sweeps, None, u, u, {"u": u, "index": torch.tensor(k)})


@dataclass(frozen=True, eq=False)
class _Part:
    """One subset of the views with the reciprocals of its row and column sums."""

    operator: LinearOperator
    measurement: Tensor
    per_ray: Tensor
    per_voxel: Tensor

    @classmethod
    def of(cls, operator: LinearOperator, measurement: Tensor, measured: Tensor) -> _Part:
        ones = torch.ones(operator.domain.shape, dtype=measurement.dtype, device=measurement.device)
        return cls(operator, measurement, _reciprocal(operator(ones)) * measured, _reciprocal(operator.H(measured)))


def _reciprocal(sums: Tensor) -> Tensor:
    """``1 / sums``, and zero for a ray that only grazes the image or a voxel that is not seen."""
    return torch.where(sums > 1e-3 * sums.max(), 1 / sums, 0)
