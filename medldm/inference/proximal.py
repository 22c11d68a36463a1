"""The one linear system behind every proximal step, solved by conjugate gradients over the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.inference.capabilities import HasPreconditioner, Preconditioners
from medldm.inference.likelihood import QuadraticTerm
from medldm.operators import LinearOperator, conjugate_gradient


def preconditioners(operator: LinearOperator, data_weights: Tensor) -> Preconditioners | None:
    """What the operator offers for these weights; None where it offers nothing, or nothing was measured."""
    if isinstance(operator, HasPreconditioner) and bool((data_weights > 0).any()):
        return operator.preconditioner(data_weights)
    return None


def solve_normal_equations(
    data_normal: Callable[[Tensor], Tensor],
    rhs: Tensor,
    weight: float,
    quadratic: Sequence[QuadraticTerm],
    *,
    dims: int,
    preconditioner: Preconditioners | None,
    start: Tensor | None,
    iterations: int,
    tolerance: float,
) -> Tensor:
    """Solve ``(A^H W A + weight I + sum_i w_i L_i^H L_i) u = rhs``.

    Args:
        data_normal: ``u -> A^H W A u``.
        rhs: ``(*batch, z, y, x)``.
        weight: of the identity, 1/image^2.
        quadratic: further quadratic terms.
        dims: axes of an image; those before them are batch.
        preconditioner: of :func:`preconditioners`.
        start: first iterate; zero when None.
        iterations: at most.
        tolerance: relative residual at which a batch item stops.
    """
    if not weight >= 0:
        raise UsageError(
            "E-LIK-05",
            f"The weight of a proximal step is {weight}; it must be zero or positive.",
            why="The step would have no minimum.",
            fix="Check the noise schedule and the regularisation weight.",
        )

    def normal(u: Tensor) -> Tensor:
        total = data_normal(u) + weight * u
        for term in quadratic:
            total = total + term.weight * term.operator.gram(u)
        return total

    return conjugate_gradient(
        normal,
        rhs,
        dims=dims,
        start=start,
        iterations=iterations,
        tolerance=tolerance,
        # Without a weight few plain iterations are all that keeps noise out of the solution, and a single iteration
        # is no solution but a step along the gradient.
        preconditioner=_of_all_terms(preconditioner, weight, quadratic, rhs)
        if preconditioner and weight > 0 and iterations > 1
        else None,
    )


def _of_all_terms(
    preconditioner: Preconditioners, weight: float, quadratic: Sequence[QuadraticTerm], rhs: Tensor
) -> LinearOperator:
    """The preconditioner of the whole system, whose further terms count by their mean eigenvalue."""
    further = sum(term.weight * _mean_eigenvalue(term.alike or term.operator, rhs) for term in quadratic)
    return preconditioner(weight + further)


def _mean_eigenvalue(operator: LinearOperator, like: Tensor) -> float:
    """Of ``L^H L``: its trace over the number of voxels, by one draw of signs (Hutchinson 1990)."""
    shape = operator.domain.shape
    signs = torch.randint(2, shape, generator=torch.Generator().manual_seed(0)).mul_(2).sub_(1).to(like)
    applied = operator(signs)
    return float(applied.abs().square().sum()) / signs.numel()
