"""Optional abilities of operators, found by asking, never by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from medldm.operators import LinearOperator


@runtime_checkable
class HasFilteredAdjoint(Protocol):
    """An operator with an approximate inverse of its own (filtered back-projection)."""

    def filtered_adjoint(self, window: str = "hann") -> LinearOperator:
        """Measurement -> image, an operator of its own; not the adjoint."""
        ...


@runtime_checkable
class HasSubsets(Protocol):
    """An operator whose measurement splits into parts, e.g. views (SART, ordered subsets)."""

    def subsets(self, n: int) -> Sequence[tuple[LinearOperator, Tensor]]:
        """``n`` operators with the indices of the measurement's split axis that they explain.

        The split axis is the second of the codomain (``view`` in ``(z, view, bin)``).
        """
        ...


@runtime_checkable
class HasPreconditioner(Protocol):
    """An operator with an approximate inverse of ``A^H W A + w I``."""

    def preconditioner(self, weight: float) -> LinearOperator:
        """Hermitian positive definite, image -> image."""
        ...
