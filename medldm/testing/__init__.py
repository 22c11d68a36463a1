"""The conformance kit: laws that every component of every plugin obeys."""

from medldm.testing.examples import (
    MetricExample,
    PhysicsExample,
    ReaderExample,
    SolverExample,
    WriterExample,
)

__all__ = ["MetricExample", "PhysicsExample", "ReaderExample", "SolverExample", "WriterExample"]
