"""What needs no prior: the start image, and the solver that a prior is tried against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from medldm.errors import UsageError
from medldm.host import Host
from medldm.inference import HasObjectPhase, OfKnownPhase, Solver, Step, run
from medldm.inference.negotiation import refusals
from medldm.inference.weighted_least_squares import WeightedLeastSquares
from medldm.operators import PhaseConstrained
from medldm.pipeline.checked_solver import CheckedSolver, build_solver
from medldm.pipeline.posing import Posed
from medldm.pipeline.recipe import Recipe, options_of


def start_image(host: Host, recipe: Recipe, posed: Posed) -> Tensor:
    """The first image ``(z, y, x)``: that of the physics, refined by the recipe's start solver if it names one."""
    start = posed.start()
    refined = start_steps(host, recipe, posed, start)
    return start if refined is None else run(refined).estimate[0]


def start_steps(host: Host, recipe: Recipe, posed: Posed, first: Tensor) -> Iterator[Step] | None:
    """The loop of the recipe's start solver from the image ``(z, y, x)`` of the physics; None where it names none."""
    if not recipe.start:
        return None
    solver = _solver(host, posed, str(recipe.start["solver"]), recipe.start, "start")
    return solver.solve(posed.likelihood, None, first[None], posed.noise)


def classical_solver(host: Host, recipe: Recipe, posed: Posed) -> Solver:
    """The solver of the section ``classical``."""
    return _solver(host, posed, str(recipe.classical["name"]), recipe.classical, "classical")


def _solver(host: Host, posed: Posed, name: str, section: Mapping[str, Any], where: str) -> Solver:
    """A classical solver, refused in sentences where it cannot run with the physics.

    Raises:
        UsageError: E-RUN-04.
    """
    operator, phase = posed.operator, None
    if section.get("image") == "real" and operator.domain.is_complex:
        if not isinstance(posed.physics, HasObjectPhase) or not isinstance(posed.likelihood, WeightedLeastSquares):
            raise UsageError(
                "E-RUN-04",
                f"{where}.image cannot be real with {posed.acquisition.physics!r}.",
                why="It takes a physics that tells the phase of the image, and a likelihood of least squares.",
                fix=f"Leave {where}.image out.",
            )
        phase = posed.physics.object_phase(posed.acquisition, operator)
        operator = PhaseConstrained(operator, phase)
    entry = host.find("solvers", name)
    sentences = refusals(entry.needs, operator)
    if sentences:
        raise UsageError(
            "E-RUN-04",
            f"The {where} solver {name!r} cannot run with {posed.acquisition.physics!r}: {' '.join(sentences)}",
            fix="medldm plugins matrix prints what runs with what.",
        )
    solver = CheckedSolver(build_solver(host, name, options_of(section), where=where), entry)
    return solver if phase is None else OfKnownPhase(solver, phase)
