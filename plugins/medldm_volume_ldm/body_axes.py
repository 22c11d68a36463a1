"""The axes that a foreign network was trained on, and ours."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from torch import Tensor

# Ours is (z, y, x) with z to the head (S), y to the back (P) and x to the patient's left (L), as patient LPS has it.
_OURS = {"S": (0, False), "I": (0, True), "P": (1, False), "A": (1, True), "L": (2, False), "R": (2, True)}


def _three_axes(letters: str) -> str:
    if sorted(_OURS[letter][0] if letter in _OURS else -1 for letter in letters) != [0, 1, 2]:
        raise ValueError(f"{letters!r} does not name each axis of the body once, as 'RAS' does")
    return letters


BodyAxes = Annotated[str, AfterValidator(_three_axes)]


class AxisOrder:
    """Turns volumes between our axes (z, y, x) and those of a network.

    Args:
        axes: direction of the body in which each axis of the network increases, e.g. ``RAS`` for volumes as nibabel and
            MONAI load them.
    """

    def __init__(self, axes: str) -> None:
        ours = [_OURS[letter] for letter in _three_axes(axes)]
        self._order = [2 + axis for axis, _ in ours]
        self._flipped = [2 + place for place, (_, flipped) in enumerate(ours) if flipped]
        self._back = [0, 1, *(2 + self._order.index(axis) for axis in (2, 3, 4))]

    def theirs(self, x: Tensor) -> Tensor:
        """(batch, channel, z, y, x) -> the network's order and directions."""
        return x.permute(0, 1, *self._order).flip(self._flipped).contiguous()

    def ours(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`theirs`."""
        return x.flip(self._flipped).permute(self._back).contiguous()
