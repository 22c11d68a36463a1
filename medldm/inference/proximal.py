"""The one linear system behind every proximal step, solved by conjugate gradients over the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from medldm.errors import UsageError
from medldm.inference.capabilities import HasPreconditioner
from medldm.inference.likelihood import QuadraticTerm
from medldm.operators import LinearOperator, conjugate_gradient


def solve_normal_equations(
    operator: LinearOperator,
    data_normal: Callable[[Tensor], Tensor],
    rhs: Tensor,
    weight: float,
    quadratic: Sequence[QuadraticTerm],
    *,
    mean_data_weight: float,
    start: Tensor | None,
    iterations: int,
    tolerance: float,
) -> Tensor:
    """Solve ``(A^H W A + weight I + sum_i w_i L_i^H L_i) u = rhs``.

    Args:
        operator: ``A``, asked for a preconditioner.
        data_normal: ``u -> A^H W A u``.
        rhs: ``(*batch, z, y, x)``.
        weight: of the identity, 1/image^2.
        quadratic: further quadratic terms.
        mean_data_weight: mean of the diagonal of W; sets the balance that the preconditioner is built for.
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

    preconditioner: LinearOperator | None = None
    if isinstance(operator, HasPreconditioner) and mean_data_weight > 0:
        # CG does not see the scale of its preconditioner, so (A^H A + w / W I)^-1 serves for W (A^H A + w / W I).
        preconditioner = operator.preconditioner(weight / mean_data_weight)
    return conjugate_gradient(
        normal,
        rhs,
        dims=len(operator.domain.shape),
        start=start,
        iterations=iterations,
        tolerance=tolerance,
        preconditioner=preconditioner,
    )
