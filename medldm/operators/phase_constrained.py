"""Images that are real but for a phase that is known.

    A_p x = A (p x)          x real, p unit complex numbers

Every sample then tells twice as much about half as many unknowns. What the phase misses is lost from the image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from medldm.operators.linear import LinearOperator

_NOLL = (
    "D. C. Noll, D. G. Nishimura, A. Macovski. Homodyne detection in magnetic resonance imaging. IEEE Transactions on "
    "Medical Imaging 10(2), 154-163, 1991."
)
_WILLIG_ONWUACHI = (
    "J. D. Willig-Onwuachi, E. N. Yeh, A. K. Grant, M. A. Ohliger, C. A. McKenzie, D. K. Sodickson. Phase-constrained "
    "parallel MR image reconstruction. Journal of Magnetic Resonance 176(2), 187-198, 2005."
)


class PhaseConstrained(LinearOperator):
    """Real images (z, y, x) by way of complex ones: ``y = A (p x)``, ``x = Re(conj(p) A^H y)``.

    Args:
        operator: of complex images.
        phase: p, (z, y, x), unit complex numbers; zero where there is no image.
    """

    references: ClassVar[tuple[str, ...]] = (_NOLL, _WILLIG_ONWUACHI)
    phase: Tensor

    def __init__(self, operator: LinearOperator, phase: Tensor) -> None:
        super().__init__()
        domain = operator.domain
        if not domain.is_complex or tuple(phase.shape) != domain.shape:
            raise ValueError(f"a phase {tuple(phase.shape)} does not make images of {domain} real")
        self.operator = operator
        self.domain = replace(domain, dtype=torch.empty((), dtype=domain.dtype).real.dtype)
        self.codomain = operator.codomain
        self.register_buffer("phase", phase.to(domain.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.forward(self.phase * x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.real_part(self.operator.adjoint(y))

    @property
    def gram(self) -> LinearOperator:
        """``Re(conj(p) A^H A p)``, by the Gram operator of the inner one."""
        return PhaseConstrainedGram(self)

    @property
    def name(self) -> str:
        return f"{self.operator.name} with its phase"

    def real_part(self, image: Tensor) -> Tensor:
        """``Re(conj(p) u)`` of complex images u."""
        return (self.phase.conj() * image).real.contiguous()


class PhaseConstrainedGram(LinearOperator):
    """``x -> Re(conj(p) A^H A p x)``, symmetric."""

    def __init__(self, operator: PhaseConstrained) -> None:
        super().__init__()
        self.operator, self.inner = operator, operator.operator.gram
        self.domain = self.codomain = operator.domain

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.real_part(self.inner.forward(self.operator.phase * x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        return self
