"""Which solvers run with which physics, asked of the registered examples."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from medldm.errors import MedldmError
from medldm.host import Entry, Host
from medldm.host.registry import sentence
from medldm.inference.negotiation import OF_THE_PRIOR, refusals
from medldm.operators import LinearOperator
from medldm.testing.examples import PhysicsExample
from medldm.testing.physics_laws import SEED


@dataclass(frozen=True)
class Pair:
    """One cell of ``medldm plugins matrix``.

    Attributes:
        physics, solver: names.
        runs: whether they may be used together.
        reasons: why not, in sentences.
    """

    physics: str
    solver: str
    runs: bool
    reasons: tuple[str, ...] = ()


def matrix(host: Host) -> list[Pair]:
    """Every physics with every solver; only the examples of physics are loaded, no solver is."""
    solvers = host.entries("solvers")
    pairs: list[Pair] = []
    for physics in host.entries("operators"):
        try:
            operator = _operator(physics)
        except Exception as error:  # a broken example is a sentence in its row, and the others are still shown
            reason = error.what if isinstance(error, MedldmError) else sentence(error)
            pairs += [Pair(physics.name, solver.name, False, (reason,)) for solver in solvers]
        else:
            pairs += [_pair(physics, solver, operator) for solver in solvers]
    return pairs


def _operator(physics: Entry) -> LinearOperator:
    example: PhysicsExample = physics.load_example()
    with _without_warnings():
        acquisition = example.physics.simulate(example.volume, SEED)
        return example.physics.operator(acquisition, acquisition.grid)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """What examples warn of concerns no scan of the user; loggers of plugins share no filter, so all are silent."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def _pair(physics: Entry, solver: Entry, operator: LinearOperator) -> Pair:
    needs = [word for word in solver.needs if word not in OF_THE_PRIOR]
    reasons = tuple(refusals(needs, operator))
    return Pair(physics.name, solver.name, not reasons, reasons)
