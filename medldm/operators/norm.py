"""The largest singular value of an operator."""

from __future__ import annotations

import torch

from medldm.operators.linear import LinearOperator


@torch.no_grad()
def operator_norm(operator: LinearOperator, *, generator: torch.Generator, iterations: int = 30) -> float:
    """Spectral norm ``max |A x| / |x|`` by the power method on ``A^H A``.

    The estimate approaches from below; after 30 iterations it is within a fraction of a per cent for the
    operators of this package. Multiply by a margin where an upper bound is needed.

    Args:
        operator: any linear operator.
        generator: source of the white-noise start, on the operator's device.
        iterations: of the power method.
    """
    gram = operator.gram
    x = operator.domain.randn(generator=generator)
    value = torch.zeros(())
    for _ in range(iterations):
        x = x / operator.domain.norm(x)
        x = gram.forward(x)
        value = operator.domain.norm(x)
        if not bool(value > 0):
            return 0.0
    return float(value.sqrt())
