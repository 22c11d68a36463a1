"""What an operator plugin registers: a Physics."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from medldm.data import Acquisition, Grid, Volume
from medldm.inference.likelihood import Likelihood
from medldm.inference.noise import Noise
from medldm.operators import LinearOperator


@runtime_checkable
class Physics(Protocol):
    """A frozen dataclass of options; its fields are the option schema.

    A measurement belongs to one physics (``Acquisition.physics``), and the pipeline has no branch on modality.
    """

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Measure an image that exists: only on request, never with an inverse crime by default."""
        ...

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """``A`` from the image ``(z, y, x)`` on ``grid`` to the measurement."""
        ...

    def likelihood(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        """``p(y | u)``, the noise taken from the acquisition."""
        ...

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """A cheap start image ``(z, y, x)``: zero-filled, filtered back-projection, ..."""
        ...
