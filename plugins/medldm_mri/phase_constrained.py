"""The option ``image`` of every physics here: complex images, or images that are real but for a phase.

A real image has a conjugate symmetric k-space, so lines on one side of its centre stand for those on the other (partial
Fourier). The phase is taken as the centre of k-space shows it; what it misses is lost from the image, hence an option
(Noll, Nishimura and Macovski 1991; Willig-Onwuachi et al. 2005).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from medldm.operators import LinearOperator, PhaseConstrained

ImageOption = Literal["complex", "real"]


def of_images(image: ImageOption, operator: LinearOperator, phase: Callable[[], Tensor]) -> LinearOperator:
    """The operator of complex images as it is, or that of images that are real but for a phase, which is found then."""
    return operator if image == "complex" else PhaseConstrained(operator, phase())


def papers_of_images(image: ImageOption) -> tuple[str, ...]:
    """What to cite for :func:`of_images`."""
    return PhaseConstrained.references if image == "real" else ()
