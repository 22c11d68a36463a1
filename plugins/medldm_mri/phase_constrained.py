"""Images that are real but for a phase that is known: half of k-space says what the other half is.

    A_p x = A (p x)          x real, p unit complex numbers

A real image has a conjugate symmetric k-space, so lines on one side of its centre stand for those on the other (partial
Fourier), and every sample tells twice as much about half as many unknowns. The phase is taken as the centre of k-space
shows it; what it misses is lost from the image, hence an option (Noll, Nishimura and Macovski 1991; Willig-Onwuachi et
al. 2005).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from medldm.operators import LinearOperator

PAPERS = (
    "D. C. Noll, D. G. Nishimura, A. Macovski. Homodyne detection in magnetic resonance imaging. IEEE Transactions on "
    "Medical Imaging 10(2), 154-163, 1991.",
    "J. D. Willig-Onwuachi, E. N. Yeh, A. K. Grant, M. A. Ohliger, C. A. McKenzie, D. K. Sodickson. Phase-constrained "
    "parallel MR image reconstruction. Journal of Magnetic Resonance 176(2), 187-198, 2005.",
)


ImageOption = Literal["complex", "real"]


def of_images(image: ImageOption, operator: LinearOperator, phase: Callable[[], Tensor]) -> LinearOperator:
    """The operator of complex images as it is, or that of images that are real but for a phase, which is found then."""
    return operator if image == "complex" else PhaseConstrained(operator, phase())


def papers_of_images(image: ImageOption) -> tuple[str, ...]:
    """What to cite for :func:`of_images`."""
    return PAPERS if image == "real" else ()


class PhaseConstrained(LinearOperator):
    """Real images (z, y, x) by way of complex ones: ``y = A (p x)``, ``x = Re(conj(p) A^H y)``.

    Args:
        operator: of complex images.
        phase: p, (z, y, x), unit complex numbers; zero where there is no image.
    """

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
