"""The conformance kit run over the registered examples: one row per law."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medldm.errors import MedldmError, Problem
from medldm.host import KINDS, Entry, Host
from medldm.host.registry import sentence
from medldm.priors.catalogue import open_prior
from medldm.priors.folder import verify
from medldm.priors.model import PriorModel
from medldm.testing.examples import (
    MetricExample,
    PhysicsExample,
    PriorExample,
    ReaderExample,
    SolverExample,
    WriterExample,
)
from medldm.testing.law import NotApplicable, name_of, require
from medldm.testing.metric_laws import METRIC_LAWS
from medldm.testing.operator_laws import OPERATOR_LAWS
from medldm.testing.physics_laws import PHYSICS_LAWS, pose
from medldm.testing.prior_family_laws import PRIOR_FAMILY_LAWS
from medldm.testing.prior_laws import PRIOR_LAWS, Trial
from medldm.testing.reader_laws import READER_LAWS
from medldm.testing.solver_laws import SOLVER_LAWS
from medldm.testing.writer_laws import WRITER_LAWS

Check = tuple[str, Callable[[], None]]


@dataclass(frozen=True)
class CheckRow:
    """One law on one component.

    Attributes:
        component: ``"kind/name"``, or the plugin's name when it did not load.
        law: in words.
        status: ``skipped`` when the law says nothing about this component.
        message: what failed, or why it was skipped.
        seconds: how long it took.
    """

    component: str
    law: str
    status: Literal["ok", "failed", "skipped"]
    message: str = ""
    seconds: float = 0.0


def run_checks(host: Host, name: str | None = None) -> list[CheckRow]:
    """Run the laws over the examples of a plugin or a component.

    Args:
        host: the loaded plugins.
        name: of a plugin, of a component (all kinds), or ``"kind/name"``; None checks everything that is installed.

    Raises:
        ComponentMissing: ``E-PLG-14`` when nothing has this name, ``E-PLG-16`` when it is blocked or absent.
    """
    broken = [row for row in host.plugins if row.status == "error" and (name is None or row.name == name)]
    rows = [CheckRow(row.name, "loads", "failed", row.error) for row in broken]
    everything = [entry for kind in KINDS for entry in host.entries(kind)]
    if name is None:
        entries = everything
    elif broken:
        # A sound plugin may have the name as well; it was loaded first.
        entries = [entry for entry in everything if entry.plugin == name]
    else:
        entries = host.named(name)
    return rows + [row for entry in entries for row in check_entry(entry)]


def check_prior(folder: Path, host: Host) -> list[CheckRow]:
    """Verify a prior folder, then run the laws of priors on what it holds, on a small grid.

    Args:
        folder: of the prior.
        host: plugins, one of which knows the family that the card names.

    Returns:
        One row per problem of the folder; where there is none, one row per law.
    """
    name = folder.resolve().name
    problems = verify(folder)
    model: PriorModel | None = None
    if not problems:
        try:
            model = open_prior(folder, host)
        except MedldmError as error:
            problems = [Problem(error.code, "error", " ".join(filter(None, (error.what, error.why))))]
    if model is None:
        return [CheckRow(name, "the folder is sound", "failed", f"{p.code}: {p.sentence}") for p in problems]
    trial = Trial.of(model)
    sound = CheckRow(name, "the folder is sound", "ok")
    return [sound, *(_run(name, law, check) for law, check in _each(PRIOR_LAWS, trial))]


def check_entry(entry: Entry) -> list[CheckRow]:
    """All laws on one registered component."""
    return [_run(f"{entry.kind}/{entry.name}", law, check) for law, check in _checks(entry)]


def _run(component: str, law: str, check: Callable[[], None]) -> CheckRow:
    started = time.monotonic()
    status: Literal["ok", "failed", "skipped"] = "ok"
    message = ""
    try:
        check()
    except NotApplicable as reason:
        status, message = "skipped", str(reason)
    except AssertionError as failure:
        status, message = "failed", str(failure)
    except MedldmError as refusal:
        status, message = "failed", str(refusal)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a law that cannot run, be it that it exits, is a failed law; the others still run
        status, message = "failed", sentence(error)
    return CheckRow(component, law, status, message, time.monotonic() - started)


def _checks(entry: Entry) -> Iterator[Check]:
    yield "target is a frozen dataclass of options", lambda: _check_target(entry)
    found: list[Any] = []
    yield "example can be made", lambda: found.append(_example(entry))
    if found:
        yield from _laws(entry, found[0])


def _check_target(entry: Entry) -> None:
    from medldm.host.options import schema

    target = entry.load()
    schema(target)
    require(
        bool(target.__dataclass_params__.frozen),
        f"{entry.target} is not frozen: options that change make a run that cannot be told",
    )
    references = getattr(target, "references", ())
    require(
        isinstance(references, property)
        or (isinstance(references, tuple) and all(isinstance(one, str) for one in references)),
        f"references of {entry.target} are no tuple of strings: reports cite them",
    )
    if entry.kind in _WITHOUT_OPTIONS:
        no_default = [
            field.name
            for field in dataclasses.fields(target)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        require(not no_default, f"{', '.join(no_default)} of {entry.target} has no default, and no recipe gives one")


# Built for every scan, by nobody's recipe.
_WITHOUT_OPTIONS = ("readers", "metrics")
_EXAMPLES: dict[str, tuple[type, str]] = {
    "operators": (PhysicsExample, "physics"),
    "priors": (PriorExample, "family"),
    "solvers": (SolverExample, "solver"),
    "readers": (ReaderExample, "reader"),
    "writers": (WriterExample, "writer"),
    "metrics": (MetricExample, "metric"),
}


def _example(entry: Entry) -> Any:
    example = entry.load_example()
    if entry.kind in _EXAMPLES:
        expected, field = _EXAMPLES[entry.kind]
        require(isinstance(example, expected), f"{entry.example} returns no {expected.__name__}")
        component, target = getattr(example, field), entry.load()
        require(
            isinstance(component, target) and dataclasses.is_dataclass(component),
            f"{entry.example} holds a {type(component).__name__}, registered is {entry.target}",
        )
    return example


def _laws(entry: Entry, example: Any) -> Iterator[Check]:
    if isinstance(example, PhysicsExample):
        yield from _physics_checks(entry, example)
    elif isinstance(example, PriorExample):
        yield from _each_in_a_folder(PRIOR_FAMILY_LAWS, example)
        yield from _prior_checks(example)
    elif isinstance(example, SolverExample):
        yield from _each(SOLVER_LAWS, example)
    elif isinstance(example, MetricExample):
        yield from _each(METRIC_LAWS, example)
    elif isinstance(example, ReaderExample):
        yield from _each_in_a_folder(READER_LAWS, example)
    elif isinstance(example, WriterExample):
        yield from _each_in_a_folder(WRITER_LAWS, example)


def _physics_checks(entry: Entry, example: PhysicsExample) -> Iterator[Check]:
    posed: list[Any] = []
    yield "example can be measured", lambda: posed.append(pose(example))
    for index, operator in enumerate((*(p.operator for p in posed), *example.operators)):
        label = f"operator {index} ({operator.name}): "
        for law in OPERATOR_LAWS:
            yield label + name_of(law), lambda law=law, operator=operator: law(operator)  # type: ignore[misc]
    if posed:
        named = posed[0].acquisition.physics
        yield (
            "acquisition names its physics",
            lambda: require(
                named == entry.name, f"the acquisition belongs to the physics {named!r}, registered is {entry.name!r}"
            ),
        )
        yield from _each(PHYSICS_LAWS, posed[0])


def _prior_checks(example: PriorExample) -> Iterator[Check]:
    for index, make in enumerate((example.make, *example.more)):
        loaded: list[PriorModel] = []

        def load(make: Callable[[Path], Path] = make, loaded: list[PriorModel] = loaded) -> None:
            with tempfile.TemporaryDirectory(prefix="medldm-check-") as folder:
                loaded.append(example.family.load(make(Path(folder))))

        yield f"prior {index} can be loaded", load
        for model in loaded:
            label = f"prior {index} ({model.card.name}): "
            for name, check in _each(PRIOR_LAWS, Trial.of(model)):
                yield label + name, check


def _each(laws: tuple[Callable[[Any], None], ...], subject: Any) -> Iterator[Check]:
    for law in laws:
        yield name_of(law), lambda law=law: law(subject)  # type: ignore[misc]


def _each_in_a_folder(laws: tuple[Callable[[Any, Path], None], ...], subject: Any) -> Iterator[Check]:
    def run(law: Callable[[Any, Path], None]) -> None:
        with tempfile.TemporaryDirectory(prefix="medldm-check-") as folder:
            law(subject, Path(folder))

    for law in laws:
        yield name_of(law), lambda law=law: run(law)  # type: ignore[misc]
