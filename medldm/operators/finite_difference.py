"""Forward differences along the axes of a volume, in 1/mm, with Neumann ends."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.operators.linear import LinearOperator
from medldm.operators.space import Space


class FiniteDifference(LinearOperator):
    """Gradient ``(*batch, z, y, x) -> (*batch, direction, z, y, x)`` by forward differences.

    The difference across the last plane of an axis is zero (Neumann), never that to the first plane: a wrapped
    difference couples the head to the feet.

    Args:
        space: of the image; its last axes are those named in ``along``.
        spacing: distance of neighbouring samples in mm for every axis of ``space``; differences are divided by it.
        along: axes to differentiate, e.g. ``("z",)`` for coupling slices or ``("z", "y", "x")`` for 3-D TV.
    """

    def __init__(self, space: Space, spacing: tuple[float, ...], along: tuple[str, ...] = ("z", "y", "x")) -> None:
        super().__init__()
        if len(spacing) != len(space.shape) or min(spacing) <= 0:
            raise ValueError(f"spacing {spacing} does not fit {space}: one positive number per axis in mm")
        self._directions = [(space.axes.index(a) - len(space.shape), 1 / spacing[space.axes.index(a)]) for a in along]
        self.domain = space
        self.codomain = Space(("direction", *space.axes), (len(along), *space.shape), space.dtype)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.ndim - len(self.domain.shape)
        out = x.new_zeros((*x.shape[:batch], len(self._directions), *self.domain.shape))
        for i, (dim, weight) in enumerate(self._directions):
            n = x.shape[dim] - 1
            part = out.select(batch, i).narrow(dim, 0, n)
            torch.sub(x.narrow(dim, 1, n), x.narrow(dim, 0, n), out=part)
            part.mul_(weight)
        return out

    def adjoint(self, y: Tensor) -> Tensor:
        batch = y.ndim - len(self.codomain.shape)
        out = y.new_zeros((*y.shape[:batch], *self.domain.shape))
        for i, (dim, weight) in enumerate(self._directions):
            n = out.shape[dim] - 1
            part = y.select(batch, i).narrow(dim, 0, n)
            out.narrow(dim, 1, n).add_(part, alpha=weight)
            out.narrow(dim, 0, n).sub_(part, alpha=weight)
        return out

    @property
    def norm_bound(self) -> float:
        """An upper bound of the norm: ``sqrt(sum 4 / h^2)``."""
        return float(sum(4 * w * w for _, w in self._directions) ** 0.5)
