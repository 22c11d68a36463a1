"""What a registered ``example`` returns: a small, fast, non-square instance that the laws are tested on.

No example, no registration: the conformance kit runs over every one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from medldm.data import Acquisition, ReadRequest, Volume, Writer
from medldm.data.reading import Reader
from medldm.inference import DiffusionPrior, Likelihood, Physics, Solver
from medldm.operators import LinearOperator
from medldm.priors.family import PriorFamily


@dataclass(frozen=True)
class PhysicsExample:
    """For ``register_operators``.

    Attributes:
        physics: small options.
        volume: a non-square, non-cubic volume that the physics can simulate; the kit measures it.
        operators: further operators of the plugin to run the operator laws on (other geometries, dtypes).
    """

    physics: Physics
    volume: Volume
    operators: tuple[LinearOperator, ...] = ()


@dataclass(frozen=True)
class PriorExample:
    """For ``register_priors``: networks of a few thousand weights, trained or not.

    Attributes:
        family: the component.
        make: writes one prior under the empty folder it is given, by :func:`medldm.priors.folder.write_prior`, and
            returns the prior's folder.
        more: further makers, one for each other kind of prior of the family (pixel, latent, slab).
        foreign: writes a source that ``convert`` takes under the empty folder it is given and returns its path; None
            for a family that converts nothing.
    """

    family: PriorFamily
    make: Callable[[Path], Path]
    more: tuple[Callable[[Path], Path], ...] = ()
    foreign: Callable[[Path], Path] | None = None


@dataclass(frozen=True)
class SolverExample:
    """For ``register_solvers``: a problem small enough to know the answer.

    Attributes:
        solver: with the iterations needed to come close.
        likelihood: the problem, its operator and measurement.
        start: ``(sample, z, y, x)``.
        truth: what it should recover. Of a solver with a prior the known posterior mean or mode, e.g. under a prior of
            :mod:`medldm.testing.closed_form`, so close to no other answer that a wrong weight would miss it.
        tolerance: relative error of the estimate against ``truth``.
        prior: on the image's grid; None for a classical solver. Its state may be a latent.
    """

    solver: Solver
    likelihood: Likelihood
    start: Tensor
    truth: Tensor
    tolerance: float
    prior: DiffusionPrior | None = None


@dataclass(frozen=True)
class ReaderExample:
    """For ``register_readers``.

    Attributes:
        reader: the component.
        make: writes one scan under the empty folder it is given, returns the path to read.
        expected: the volume or the measurement in it (orientation, values, unit).
        request: how to ask for it.
    """

    reader: Reader
    make: Callable[[Path], Path]
    expected: Volume | Acquisition
    request: ReadRequest = field(default_factory=ReadRequest)


@dataclass(frozen=True)
class WriterExample:
    """For ``register_writers``: what is written must come back through ``reader``.

    Attributes:
        tolerance: largest difference of values, in units of the volume, that the format's quantisation allows.
    """

    writer: Writer
    volume: Volume
    reader: Reader
    tolerance: float


@dataclass(frozen=True)
class MetricExample:
    """For ``register_metrics``: ``perfect`` is what the metric gives for an estimate equal to the truth."""

    metric: Callable[[Volume, Volume], Mapping[str, float]]
    truth: Volume
    perfect: Mapping[str, float]
