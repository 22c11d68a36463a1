"""Several operators with the same domain as one: ``vstack(A, B) x = (A x, B x)``."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from medldm.operators.linear import LinearOperator
from medldm.operators.space import Space


class VStack(LinearOperator):
    """Operators whose results are concatenated along one axis of the codomain."""

    def __init__(self, operators: tuple[LinearOperator, ...], axis: str) -> None:
        super().__init__()
        first = operators[0]
        axes = first.codomain.axes
        self._dim = axes.index(axis) - len(axes)
        self._sizes = []
        for op in operators:
            fixed = [n for a, n in zip(op.codomain.axes, op.codomain.shape, strict=True) if a != axis]
            expected = [n for a, n in zip(axes, first.codomain.shape, strict=True) if a != axis]
            if op.domain != first.domain or op.codomain.axes != axes or fixed != expected:
                raise ValueError(
                    f"cannot stack {op.name} ({op.domain} -> {op.codomain}) below {first.name} along {axis!r}"
                )
            self._sizes.append(op.codomain.shape[self._dim])
        shape = list(first.codomain.shape)
        shape[self._dim] = sum(self._sizes)
        self.operators = nn.ModuleList(operators)
        self.domain = first.domain
        self.codomain = Space(axes, tuple(shape), first.codomain.dtype)

    def _operators(self) -> list[LinearOperator]:
        return [cast(LinearOperator, op) for op in self.operators]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([op.forward(x) for op in self._operators()], dim=self._dim)

    def adjoint(self, y: Tensor) -> Tensor:
        parts = torch.split(y, self._sizes, dim=self._dim)
        images = [op.adjoint(p) for op, p in zip(self._operators(), parts, strict=True)]
        total = images[0]
        for image in images[1:]:
            total = total + image
        return total


def vstack(*operators: LinearOperator, axis: str) -> LinearOperator:
    """Stack operators along a named axis of their codomain.

    Args:
        operators: at least one, with one domain and codomains that differ along ``axis`` only.
        axis: the axis of the codomain along which the results are concatenated.
    """
    return VStack(operators, axis)
