"""A prior of a volume whose axes stand in another order, or run the other way."""

from __future__ import annotations

from torch import Tensor

from medldm.inference.image_edge import ImageEdge
from medldm.inference.prior import BoundPrior
from medldm.operators import Space


class Turned(ImageEdge):
    """A prior on a volume (z, y, x) that lies in another way than the one it knows; no sample is interpolated.

    The state of a pixel prior is an image and is turned with it. The state of a latent prior stays in the inner
    volume's pose: its axes (z, y, x) are those of the inner volume, and ``encode`` and ``decode`` turn the image.

    Args:
        inner: prior of the other volume.
        order: the axes of this volume that become the inner one's first, second and third.
        mirrored: which axes of the inner volume run the other way.
    """

    def __init__(self, inner: BoundPrior, order: tuple[int, int, int], mirrored: tuple[int, ...] = ()) -> None:
        self._there = [0, *(axis + 1 for axis in order)]
        self._back = [0, *(order.index(axis) + 1 for axis in range(3))]
        self._mirrored = [axis + 1 for axis in mirrored]
        shape = tuple(inner.image.shape[order.index(axis)] for axis in range(3))
        super().__init__(inner, Space(("z", "y", "x"), shape, inner.image.dtype))

    def inward(self, x: Tensor) -> Tensor:
        """(batch, z, y, x) -> (batch, *inner.image)."""
        # Contiguous, so that the libraries beneath choose the same kernels whatever the pose.
        return x.permute(self._there).flip(self._mirrored).contiguous()

    def outward(self, x: Tensor) -> Tensor:
        """(batch, *inner.image) -> (batch, z, y, x)."""
        return x.flip(self._mirrored).permute(self._back).contiguous()


def stacked_along(axis: int) -> tuple[int, int, int]:
    """The ``order`` of a stack of slices along an axis, the two axes of a slice kept in theirs."""
    first, second = (other for other in range(3) if other != axis)
    return axis, first, second
