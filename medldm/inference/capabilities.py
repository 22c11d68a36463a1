"""Optional abilities of operators and likelihoods, found by asking, never by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from medldm.data import Acquisition, Grid
from medldm.inference.likelihood import Likelihood
from medldm.operators import LinearOperator

Preconditioners = Callable[[float], LinearOperator]
"""``weight`` of the identity -> an approximate inverse of ``A^H W A + weight I``."""


@runtime_checkable
class HasReferences(Protocol):
    """A component (physics, likelihood, solver, metric, family of priors) that says what to cite for it."""

    @property
    def references(self) -> Sequence[str]:
        """Full references, one per work, as they stand in a list of references; a class variable will do."""
        ...


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

        The split axis is the codomain's ``view``, in ``(z, view, bin)`` or ``(view, row, column)``; where none has that
        name, its second.
        """
        ...


@runtime_checkable
class HasPreconditioner(Protocol):
    """An operator with approximate inverses of ``A^H W A + weight I``."""

    def preconditioner(self, data_weights: Tensor) -> Preconditioners:
        """``weight -> (A^H W A + weight I)^-1``, nearly: Hermitian positive definite, image -> image, of any scale.

        What depends on W alone is computed here, once for all weights.

        Args:
            data_weights: ``W``, zero or positive, broadcastable to the measurement.
        """
        ...


@runtime_checkable
class HasMeasurementProx(Protocol):
    """A likelihood that separates over samples: what primal-dual solvers need in place of a linear solve."""

    def measurement_prox(self, v: Tensor, step: Tensor) -> Tensor:
        """``argmin_q -log p(y | q) + |q - v|^2 / (2 step)`` with ``q`` in place of ``A u``, sample by sample."""
        ...


@runtime_checkable
class HasPerturbation(Protocol):
    """A quadratic likelihood that can be sampled by perturbation: what an exact Gibbs step needs besides ``prox``."""

    def perturbation(self, draw: Tensor) -> Tensor:
        """``A^H W^(1/2) n``: of covariance ``A^H W A``, per real component, where ``n`` has unit standard deviation.

        ``prox(v + (perturbation(n1) + sqrt(w) n2) / w, w)`` is then a draw from the Gaussian whose energy the proximal
        step minimises (Papandreou and Yuille 2010, perturb and optimise).

        Args:
            draw: ``n`` = (*batch, *codomain), independent, unit standard deviation per real component.
        """
        ...


@runtime_checkable
class HasSurrogate(Protocol):
    """A likelihood that is not quadratic but has a quadratic stand-in on the same image."""

    def surrogate(self) -> Likelihood:
        """A likelihood whose measurement is linear in the image (post-log data for photon counts)."""
        ...


@runtime_checkable
class HasUnits(Protocol):
    """A likelihood that can be restated for an image in other units, as a prior needs it."""

    def in_units(self, scale: float, offset: float | Tensor) -> Likelihood:
        """The same likelihood of ``x`` where ``u = scale * x + offset`` is the image it was stated for.

        Energies are equal, the operator is ``scale * A`` with all its abilities.

        Args:
            scale: real, not zero.
            offset: a constant, or an image of the operator's domain (a magnitude's offset with the image's phase).
        """
        ...


@runtime_checkable
class HasObjectPhase(Protocol):
    """A physics of complex images that can tell their phase from the measurement alone."""

    def object_phase(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """Smooth phase of the image as unit complex numbers (z, y, x), 0 where the measurement sees nothing.

        Args:
            acquisition: the measurement.
            operator: made by this physics for the acquisition's own grid; its coil maps define the phase.

        Raises:
            InputRefused: the measurement does not show the phase.
        """
        ...


@runtime_checkable
class StatesMemory(Protocol):
    """A physics that knows, before anything is built, what it needs."""

    def bytes_needed(self, grid: Grid, measurement: Acquisition | None = None) -> int:
        """Bytes of measurement and operator, at their peak, for an image on ``grid``.

        Args:
            grid: of the image.
            measurement: that exists, whose geometry and coils count; None for what the options would measure.
        """
        ...

    def measurement_bytes(self, grid: Grid) -> int:
        """Bytes of one copy of the measurement of an image on ``grid``; solvers hold several."""
        ...


@runtime_checkable
class StatesSimulationMemory(Protocol):
    """A physics that needs more memory to make a measurement than to reconstruct it."""

    def simulation_bytes(self, grid: Grid) -> int:
        """Bytes at the peak of simulating an image on ``grid``, which is over before anything is reconstructed."""
        ...
