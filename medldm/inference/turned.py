"""Slices of another plane: a volume prior whose slices are stacked along y or x."""

from __future__ import annotations

from torch import Tensor

from medldm.inference.image_edge import ImageEdge
from medldm.inference.prior import BoundPrior
from medldm.operators import Space


class Turned(ImageEdge):
    """A prior of stacks of slices on a volume (z, y, x) that is cut along another axis.

    Args:
        inner: prior of a volume whose slices are stacked along its first axis; the other two axes keep their order.
        stack: the axis of the volume along which they are stacked: 0, 1 or 2.
    """

    def __init__(self, inner: BoundPrior, stack: int) -> None:
        self._there = (stack, *(axis for axis in range(3) if axis != stack))
        self._back = tuple(self._there.index(axis) for axis in range(3))
        shape = tuple(inner.image.shape[axis] for axis in self._back)
        super().__init__(inner, Space(("z", "y", "x"), shape, inner.image.dtype))

    def inward(self, x: Tensor) -> Tensor:
        """(batch, z, y, x) -> (batch, stack, row, column)."""
        return x.permute(0, *(axis + 1 for axis in self._there))

    def outward(self, x: Tensor) -> Tensor:
        """(batch, stack, row, column) -> (batch, z, y, x)."""
        return x.permute(0, *(axis + 1 for axis in self._back))
