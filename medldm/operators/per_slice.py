"""A 2-D physics lifted to the volume."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.operators.linear import LinearOperator
from medldm.operators.space import Space


class PerSlice(LinearOperator):
    """The same 2-D operator on every slice: ``(z, y, x) -> (z, *codomain)``.

    Args:
        operator: maps ``(y, x)``; it sees slices as a batch.
        slices: number of slices.
        slices_at_once: memory bound; None gives the operator the whole stack.
    """

    def __init__(self, operator: LinearOperator, slices: int, *, slices_at_once: int | None = None) -> None:
        super().__init__()
        self.operator = operator
        self.slices_at_once = slices_at_once
        inner, outer = operator.domain, operator.codomain
        self.domain = Space(("z", *inner.axes), (slices, *inner.shape), inner.dtype)
        self.codomain = Space(("z", *outer.axes), (slices, *outer.shape), outer.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self._chunked(x, self.domain, self.operator.forward)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._chunked(y, self.codomain, self.operator.adjoint)

    def _chunked(self, x: Tensor, space: Space, apply: object) -> Tensor:
        assert callable(apply)
        if self.slices_at_once is None or self.slices_at_once >= space.shape[0]:
            result: Tensor = apply(x)
            return result
        dim = x.ndim - len(space.shape)
        return torch.cat([apply(part) for part in torch.split(x, self.slices_at_once, dim)], dim)
