"""A benchmark suite: recipes x cases x methods x seeds, every method on the same measurement."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from medldm.data import ReadRequest, Volume
from medldm.data.volume import Modality
from medldm.errors import MedldmError, UsageError
from medldm.host import Host
from medldm.host.yaml_file import read_mapping
from medldm.inference import Likelihood, Solver, run
from medldm.pipeline.checks import check_finite
from medldm.pipeline.classical import start_image
from medldm.pipeline.events import Teller
from medldm.pipeline.metrics import compare_finite
from medldm.pipeline.peak_memory import PeakMemory
from medldm.pipeline.posing import Posed, device_named, finished_volume, pose, with_solver
from medldm.pipeline.problem import problem_of
from medldm.pipeline.reading import case_hash, read_image
from medldm.pipeline.recipe import Recipe, from_mapping, load_recipe
from medldm.pipeline.simulate import measure
from medldm.pipeline.trial import trial_of

# Methods that need no solver section of their own.
OWN = "recipe"  # the recipe's solver
CLASSICAL = "classical"  # its classical solver, alone; its own where that needs no prior
START = "start"  # the recipe's start image
PHYSICS_START = "physics-start"  # the start image of the physics: zero-filled, filtered back-projection


@dataclass(frozen=True)
class SuiteCase:
    """A scan of the suite, by its path below ``--data``."""

    path: str
    modality: Modality | None = None
    slices: tuple[int, int] | None = None


@dataclass(frozen=True)
class Task:
    """One recipe on several cases by several methods.

    ``methods`` maps a name to ``recipe`` (the recipe's own solver, its prior tried against the classical one),
    ``classical`` (the classical one alone), ``start`` (its start image), ``physics-start`` (the start image of the
    physics alone), a solver section, or ``set`` with assignments that change the recipe. A solver section may hold a
    ``prior`` and a ``coherence`` of its own. The prior of the last two is believed untried. What is set in the section
    ``operator`` gives that method an operator of its own, of the same measurement.
    """

    recipe: str
    cases: tuple[str, ...]
    methods: Mapping[str, str | dict[str, Any]]
    set: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """The content of a suite file."""

    cases: Mapping[str, SuiteCase]
    tasks: tuple[Task, ...]
    seeds: tuple[int, ...] = (7,)
    title: str = "benchmark"


@dataclass(frozen=True)
class Row:
    """One method on one case: metrics, residual, time, memory; or why it could not run."""

    recipe: str
    case: str
    method: str
    seed: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    chi: float | None = None
    set_up_seconds: float = 0.0
    solve_seconds: float = 0.0
    peak_memory_bytes: int = 0
    error: str = ""
    work: str = ""
    """Hash of what was asked for: resolved recipe, method, slices of the case. Two rows of one are the same work."""


Look = Callable[[Row, Volume, Volume], None]
"""Sees a row, the image that it tells of, and the truth."""


def load_suite(path: Path) -> Suite:
    """Read and validate a suite file."""
    try:
        suite: Suite = TypeAdapter(Suite).validate_python(read_mapping(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            "E-SUI-01",
            f"The suite {path} is not valid at {where}: {first['msg']}.",
            fix="See configs/suites/public.yaml for the form.",
        ) from error
    for task in suite.tasks:
        unknown = [name for name in task.cases if name not in suite.cases]
        if unknown:
            raise UsageError("E-SUI-02", f"The suite {path} uses unknown cases {unknown}.", fix="List them in cases.")
    return suite


def run_suite(
    host: Host,
    suite: Suite,
    data: Path,
    tell: Teller,
    *,
    done: Sequence[Row] = (),
    device: str = "auto",
    middle: int | None = None,
    look: Look | None = None,
) -> Iterator[Row]:
    """Yield a row per recipe, case, seed and method; rows in ``done`` are not computed again.

    Every method of a recipe sees the same measurement, and the same operator unless it sets another. One that fails, or
    a case that cannot be read or measured, gives rows with their error, and the suite goes on. With ``middle`` every
    case is cut to so many slices from its middle; ``look`` sees the image of every row that has one, beside the truth.
    """
    finished = {row.work for row in done}
    total = sum(len(task.cases) * len(task.methods) for task in suite.tasks) * len(suite.seeds)
    index = 0
    for task, recipe, rows in _asked(suite, middle):
        wanted = [row for row in rows if row.work not in finished]
        index += len(rows) - len(wanted)
        if not wanted:
            continue
        name = wanted[0].case
        tell("case", f"{wanted[0].recipe} on {name}, seed {recipe.seed}")
        try:
            volume = _volume(host, suite.cases[name], data, middle)
            found = _case_rows(host, volume, recipe, task, wanted, device, look)
        except MedldmError as error:
            found = iter([replace(row, error=str(error)) for row in wanted])
        for row in found:
            index += 1
            tell("step", f"{row.recipe} {row.case} {row.method}", index=index, total=total, sigma=None)
            if row.error:
                tell("warning", f"{row.recipe} {row.case} {row.method}: {row.error}")
            yield row


def still_asked(suite: Suite, rows: Sequence[Row], middle: int | None = None) -> list[Row]:
    """Rows of an earlier run, without those of the same names that this suite asks otherwise."""
    asked = {_names(row): row.work for *_, empty in _asked(suite, middle) for row in empty}
    return [row for row in rows if asked.get(_names(row), row.work) == row.work]


def _names(row: Row) -> tuple[str, str, str, int]:
    return row.recipe, row.case, row.method, row.seed


def _asked(suite: Suite, middle: int | None) -> Iterator[tuple[Task, Recipe, list[Row]]]:
    """Of every task, seed and case the recipe, and a row still empty for each method.

    A task that sets something of its recipe is told by it.
    """
    for task in suite.tasks:
        for seed in suite.seeds:
            recipe = load_recipe(task.recipe, [*task.set, f"run.seed={seed}"])
            named = ", ".join([recipe.name, *task.set])
            for name in task.cases:
                case = suite.cases[name]
                yield (
                    task,
                    recipe,
                    [
                        Row(named, name, method, seed, work=_work(recipe, case, middle, how))
                        for method, how in task.methods.items()
                    ],
                )


def _work(recipe: Recipe, case: SuiteCase, middle: int | None, method: str | dict[str, Any]) -> str:
    asked = [recipe.sha256, str(case.path), case.modality, case.slices, middle, method]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _case_rows(
    host: Host, volume: Volume, recipe: Recipe, task: Task, rows: Sequence[Row], device: str, look: Look | None
) -> Iterator[Row]:
    try:
        identity = case_hash(volume)
        acquisition = measure(host, recipe, volume, Teller())
        begun = time.perf_counter()
        posed = pose(host, recipe, acquisition, identity, device_named(device))
        start = start_image(host, recipe, posed)
        set_up = time.perf_counter() - begun
    except MedldmError as error:
        yield from (replace(row, error=str(error)) for row in rows)
        return
    for asked in rows:
        row = replace(asked, set_up_seconds=set_up)
        try:
            with PeakMemory() as memory:
                begun = time.perf_counter()
                estimate, likelihood = _estimate(host, recipe, task.methods[row.method], posed, start)
                solved = time.perf_counter() - begun
            image = finished_volume(estimate, acquisition, volume, row.method)
            found = replace(
                row,
                metrics=compare_finite(host, image, volume),
                chi=float(likelihood.chi(estimate).mean()),
                solve_seconds=solved,
                peak_memory_bytes=memory.bytes,
            )
            if look is not None:
                look(found, image, volume)
            yield found
        except MedldmError as error:
            yield replace(row, error=str(error))


def _estimate(
    host: Host, recipe: Recipe, method: str | dict[str, Any], posed: Posed, start: torch.Tensor
) -> tuple[torch.Tensor, Likelihood]:
    shared = recipe
    if method == START or (method == CLASSICAL and recipe.starts_at_classical):
        return start[None], posed.likelihood
    if method == PHYSICS_START:
        return posed.start()[None], posed.likelihood
    if isinstance(method, dict) and "set" in method:
        recipe = recipe.changed([*method["set"], "classical={}"])
    elif isinstance(method, dict):
        solver = {key: value for key, value in method.items() if key not in ("coherence", "prior")}
        changed = {"solver": solver, "classical": {}} | {key: method[key] for key in method if key not in solver}
        recipe = from_mapping(recipe.name, recipe.as_dict() | changed)
    elif method == CLASSICAL:
        recipe = recipe.without_prior() if recipe.classical else recipe
    elif method != OWN:
        raise UsageError(
            "E-SUI-03",
            f"The method {method!r} is not known.",
            fix="recipe, classical, start, physics-start, a solver section, or set: [section.key=value].",
        )
    if recipe.operator == shared.operator:
        posed = with_solver(host, recipe, posed)
    else:
        posed = pose(host, recipe, posed.acquisition, posed.noise.case, posed.acquisition.data.device)
    if (recipe.operator, recipe.start) != (shared.operator, shared.start):
        start = start_image(host, recipe, posed)
    problem = problem_of(posed, start, recipe.samples)
    trial = trial_of(host, recipe, posed, problem, start, Teller())
    chosen: Solver = posed.checked()
    if trial is not None:
        chosen, problem = trial.leaning(chosen), trial.problem
    solution = run(chosen.solve(problem.likelihood, problem.prior, problem.start, problem.noise))
    estimate = problem.on_scan(solution.estimate)
    check_finite(estimate)
    return estimate, posed.likelihood


def _volume(host: Host, case: SuiteCase, data: Path, middle: int | None) -> Volume:
    volume = read_image(host, data / case.path, ReadRequest(modality=case.modality))
    if case.slices is not None:
        volume = volume.cropped(slice(*case.slices))
    if middle is None:
        return volume
    first = max(0, (volume.grid.shape[0] - middle) // 2)
    return volume.cropped(slice(first, first + middle))


def read_rows(path: Path) -> list[Row]:
    """Rows written by an earlier, perhaps interrupted, run of the suite; those with an error are left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for line in lines:
        try:
            row = TypeAdapter(Row).validate_python(json.loads(line))
        except (ValueError, ValidationError):
            continue  # the last line of a killed run may be torn
        if not row.error:
            rows.append(row)
    return rows
