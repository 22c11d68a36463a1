"""The laws as pytest classes: a plugin's test module subclasses one and provides one fixture.

from medldm.testing.contracts import OperatorContract

class TestMyOperator(OperatorContract):
    @pytest.fixture
    def operator(self):
        return MyOperator(shape=(3, 4, 5))
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medldm.operators import LinearOperator
from medldm.testing.examples import (
    MetricExample,
    PhysicsExample,
    PriorExample,
    ReaderExample,
    SolverExample,
    WriterExample,
)
from medldm.testing.law import NotApplicable, name_of
from medldm.testing.metric_laws import METRIC_LAWS, MetricLaw
from medldm.testing.operator_laws import OPERATOR_LAWS, OperatorLaw
from medldm.testing.physics_laws import PHYSICS_LAWS, PhysicsLaw, pose
from medldm.testing.prior_family_laws import PRIOR_FAMILY_LAWS, PriorFamilyLaw
from medldm.testing.prior_laws import PRIOR_LAWS, PriorLaw, Trial
from medldm.testing.reader_laws import READER_LAWS, ReaderLaw
from medldm.testing.solver_laws import SOLVER_LAWS, SolverLaw
from medldm.testing.writer_laws import WRITER_LAWS, WriterLaw


def _obey(law: Callable[..., None], *arguments: Any) -> None:
    try:
        law(*arguments)
    except NotApplicable as reason:
        pytest.skip(str(reason))


class OperatorContract:
    """Provide the fixture ``operator``."""

    @pytest.fixture
    def operator(self) -> LinearOperator:
        """A small instance, non-square."""
        raise NotImplementedError("a subclass of OperatorContract provides the fixture 'operator'")

    @pytest.mark.parametrize("law", OPERATOR_LAWS, ids=name_of)
    def test_operator(self, law: OperatorLaw, operator: LinearOperator) -> None:
        """Each law of linear operators."""
        _obey(law, operator)


class PhysicsContract:
    """Provide the fixture ``example``, a :class:`medldm.testing.PhysicsExample`."""

    @pytest.fixture
    def example(self) -> PhysicsExample:
        """What the plugin registers as ``example``."""
        raise NotImplementedError("a subclass of PhysicsContract provides the fixture 'example'")

    @pytest.mark.parametrize("law", PHYSICS_LAWS, ids=name_of)
    def test_physics(self, law: PhysicsLaw, example: PhysicsExample) -> None:
        """Each law of physics."""
        _obey(law, pose(example))

    @pytest.mark.parametrize("law", OPERATOR_LAWS, ids=name_of)
    def test_operators(self, law: OperatorLaw, example: PhysicsExample) -> None:
        """Each law of linear operators, on the operators of the example."""
        for operator in (pose(example).operator, *example.operators):
            _obey(law, operator)


class PriorContract:
    """Provide the fixture ``example``, a :class:`medldm.testing.PriorExample`."""

    @pytest.fixture
    def example(self) -> PriorExample:
        """What the plugin registers as ``example``."""
        raise NotImplementedError("a subclass of PriorContract provides the fixture 'example'")

    @pytest.mark.parametrize("law", PRIOR_FAMILY_LAWS, ids=name_of)
    def test_family(self, law: PriorFamilyLaw, example: PriorExample, tmp_path: Path) -> None:
        """Each law of families."""
        _obey(law, example, tmp_path)

    @pytest.mark.parametrize("law", PRIOR_LAWS, ids=name_of)
    def test_priors(self, law: PriorLaw, example: PriorExample, tmp_path: Path) -> None:
        """Each law of priors, on those that the example's makers write."""
        skipped = []
        for index, make in enumerate((example.make, *example.more)):
            folder = tmp_path / str(index)
            folder.mkdir()
            try:
                law(Trial.of(example.family.load(make(folder))))
            except NotApplicable as reason:
                skipped.append(str(reason))
        if len(skipped) == 1 + len(example.more):
            pytest.skip("; ".join(sorted(set(skipped))))


class SolverContract:
    """Provide the fixture ``example``, a :class:`medldm.testing.SolverExample`."""

    @pytest.fixture
    def example(self) -> SolverExample:
        """What the plugin registers as ``example``."""
        raise NotImplementedError("a subclass of SolverContract provides the fixture 'example'")

    @pytest.mark.parametrize("law", SOLVER_LAWS, ids=name_of)
    def test_solver(self, law: SolverLaw, example: SolverExample) -> None:
        """Each law of solvers."""
        _obey(law, example)


class ReaderContract:
    """Provide the fixture ``example``, a :class:`medldm.testing.ReaderExample`."""

    @pytest.fixture
    def example(self) -> ReaderExample:
        """What the plugin registers as ``example``."""
        raise NotImplementedError("a subclass of ReaderContract provides the fixture 'example'")

    @pytest.mark.parametrize("law", READER_LAWS, ids=name_of)
    def test_reader(self, law: ReaderLaw, example: ReaderExample, tmp_path: Path) -> None:
        """Each law of readers."""
        _obey(law, example, tmp_path)


class WriterContract:
    """Provide the fixture ``example``, a :class:`medldm.testing.WriterExample`."""

    @pytest.fixture
    def example(self) -> WriterExample:
        """What the plugin registers as ``example``."""
        raise NotImplementedError("a subclass of WriterContract provides the fixture 'example'")

    @pytest.mark.parametrize("law", WRITER_LAWS, ids=name_of)
    def test_writer(self, law: WriterLaw, example: WriterExample, tmp_path: Path) -> None:
        """Each law of writers."""
        _obey(law, example, tmp_path)


class MetricContract:
    """Provide the fixture ``example``, a :class:`medldm.testing.MetricExample`."""

    @pytest.fixture
    def example(self) -> MetricExample:
        """What the plugin registers as ``example``."""
        raise NotImplementedError("a subclass of MetricContract provides the fixture 'example'")

    @pytest.mark.parametrize("law", METRIC_LAWS, ids=name_of)
    def test_metric(self, law: MetricLaw, example: MetricExample) -> None:
        """Each law of metrics."""
        _obey(law, example)
