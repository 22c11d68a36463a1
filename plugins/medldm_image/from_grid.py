"""An operator made for one grid, seen from another."""

from __future__ import annotations

from torch import Tensor

from medldm.data import Grid
from medldm.operators import Composition, LinearOperator, Resample


class FromGrid(Composition):
    """``operator @ Resample``: an image on ``grid`` explains a measurement that was posed on ``native``.

    Args:
        operator: maps images on ``native``.
        grid: of the images to reconstruct.
        native: grid of the acquisition.
    """

    def __init__(self, operator: LinearOperator, grid: Grid, native: Grid) -> None:
        super().__init__(operator, Resample(grid, native, dtype=operator.domain.dtype))
        self._back = Resample(native, grid, dtype=operator.domain.dtype)

    def start_from(self, image: Tensor) -> Tensor:
        """An image on ``native`` brought to ``grid``."""
        return self._back(image)


def on_grid(operator: LinearOperator, grid: Grid, native: Grid) -> LinearOperator:
    """The operator for images on ``grid``; itself when that is its own grid."""
    return operator if grid == native else FromGrid(operator, grid, native)


def brought_to(operator: LinearOperator, image: Tensor) -> Tensor:
    """A start image on the acquisition's grid, brought to the grid of the operator's domain."""
    return operator.start_from(image) if isinstance(operator, FromGrid) else image
