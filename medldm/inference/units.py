"""A measurement restated for an image in other units: ``u = scale * x + offset``.

``A u - y = (scale A) x - (y - A offset)``, so the operator is scaled and the measurement shifted; the noise stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import cast

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.inference.capabilities import HasFilteredAdjoint, HasPreconditioner, HasSubsets, Preconditioners
from medldm.operators import LinearOperator
from medldm.operators.linear import Scaled


def scaled(operator: LinearOperator, scale: float) -> LinearOperator:
    """``scale * operator`` that can do all that ``operator`` can: filtered adjoint, subsets, preconditioner.

    Args:
        operator: image to measurement.
        scale: real, finite, not zero.

    Raises:
        UsageError: E-LIK-10 the scale is zero or not finite.
    """
    if not math.isfinite(scale) or scale == 0:
        raise UsageError(
            "E-LIK-10",
            f"The scale between two units of the image is {scale}.",
            why="One of them could not be turned into the other.",
            fix="Check the intensity window, or the start image that the scale is taken from.",
        )
    abilities = tuple(ability for protocol, ability in _ABILITIES if isinstance(operator, protocol))
    return _scaled_with(abilities)(scale, operator)


def projected_offset(operator: LinearOperator, offset: float | Tensor, like: Tensor) -> Tensor:
    """``A b`` of a constant or of an image ``b``, of the codomain; a single zero where the constant is zero.

    Args:
        operator: ``A``.
        offset: ``b``, a number or of the operator's domain.
        like: a measurement, for device and precision.
    """
    if isinstance(offset, Tensor):
        return operator(offset)
    if offset == 0:
        return like.new_zeros(())
    real = like.real.dtype if like.is_complex() else like.dtype
    dtype = torch.promote_types(real, operator.domain.dtype)
    return operator(torch.full(operator.domain.shape, offset, dtype=dtype, device=like.device))


class _FilteredAdjoint(Scaled):
    def filtered_adjoint(self, window: str = "hann") -> LinearOperator:
        return (1 / self.scalar) * cast(HasFilteredAdjoint, self.operator).filtered_adjoint(window)


class _Subsets(Scaled):
    def subsets(self, n: int) -> Sequence[tuple[LinearOperator, Tensor]]:
        parts = cast(HasSubsets, self.operator).subsets(n)
        return [(scaled(part, self.scalar.real), index) for part, index in parts]


class _Preconditioner(Scaled):
    def preconditioner(self, data_weights: Tensor) -> Preconditioners:
        # s^2 A^H W A + w I = s^2 (A^H W A + w / s^2 I), and a preconditioner's own scale is free.
        inverse = cast(HasPreconditioner, self.operator).preconditioner(data_weights)
        return lambda weight: inverse(weight / abs(self.scalar) ** 2)


_ABILITIES: tuple[tuple[type, type[Scaled]], ...] = (
    (HasFilteredAdjoint, _FilteredAdjoint),
    (HasSubsets, _Subsets),
    (HasPreconditioner, _Preconditioner),
)


@cache
def _scaled_with(abilities: tuple[type[Scaled], ...]) -> type[Scaled]:
    """The class of scaled operators with these abilities; a protocol asks for methods, so each set is a class."""
    return type("Scaled", abilities, {}) if abilities else Scaled
