"""What makes the slices of a reconstruction agree: an option of the run, which no solver knows of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from medldm.inference.coupled import SliceCoupling


@dataclass(frozen=True)
class NoiseKernel:
    """Noise of the start and of each re-noising, shared by neighbouring slices.

    Attributes:
        kernel: ``exp(-d^2 / (2 length_mm^2))``, smooth; rough kernels leave most of the flicker.
        length_mm: its length; two to four times that of the anatomy. Zero is white noise.
    """

    kernel: Literal["squared-exponential"] = "squared-exponential"
    length_mm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 12.0


@dataclass(frozen=True)
class Coherence:
    """How slices are held together; coherent is not the same as true.

    Attributes:
        noise: correlated along the stack; None for white noise. A physics that takes each slice for itself gains smooth
            texture by it, not fidelity: each slice on its own has the law that it had.
        coupling: in the proximal step; None for none.
    """

    noise: NoiseKernel | None = None
    coupling: SliceCoupling | None = None

    @property
    def nothing(self) -> bool:
        """Whether slices are left to themselves."""
        return (self.noise is None or self.noise.length_mm == 0) and (
            self.coupling is None or self.coupling.length_mm == 0
        )
