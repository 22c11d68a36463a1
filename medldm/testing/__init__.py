"""The conformance kit: laws that every component of every plugin obeys."""

from medldm.testing.examples import (
    MetricExample,
    PhysicsExample,
    PriorExample,
    ReaderExample,
    SolverExample,
    WriterExample,
)

__all__ = ["MetricExample", "PhysicsExample", "PriorExample", "ReaderExample", "SolverExample", "WriterExample"]
