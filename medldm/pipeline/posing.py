"""From a measurement and a recipe to a problem that a solver can take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from medldm.data import Acquisition, Volume
from medldm.errors import UsageError
from medldm.host import Host
from medldm.inference import Likelihood, Noise, Physics, Solver, run
from medldm.inference.negotiation import refusals
from medldm.operators import LinearOperator
from medldm.pipeline.reading import to_device
from medldm.pipeline.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Posed:
    """One reconstruction problem: the measurement, how it came about, and the method to invert it."""

    acquisition: Acquisition
    physics: Physics
    operator: LinearOperator
    likelihood: Likelihood
    solver: Solver
    noise: Noise


def pose(host: Host, recipe: Recipe, acquisition: Acquisition, identity: str, device: torch.device) -> Posed:
    """Operator, likelihood and solver; refused in sentences when they do not fit together.

    Args:
        host: plugins.
        recipe: whose physics must be that of the acquisition.
        acquisition: the measurement.
        identity: hash of the case, which addresses its random draws.
        device: where to compute.
    """
    if acquisition.physics != recipe.physics:
        raise UsageError(
            "E-RUN-03",
            f"The measurement is of physics {acquisition.physics!r}, the recipe is for {recipe.physics!r}.",
            fix="Choose a recipe of the same physics: medldm recipes list.",
        )
    if recipe.prior:
        host.find("priors", str(recipe.prior.get("name", "")))
    solver_of(host, recipe, None)  # a misspelt option is found before anything heavy is built
    physics = cast(Physics, host.build("operators", recipe.physics, recipe.physics_options(), where="acquisition"))
    acquisition = to_device(acquisition, device)
    operator = physics.operator(acquisition, acquisition.grid).to(device)
    operator.domain = replace(operator.domain, spacing=acquisition.grid.spacing)  # for regularisers
    solver = solver_of(host, recipe, operator)
    likelihood = physics.likelihood(acquisition, operator)
    return Posed(acquisition, physics, operator, likelihood, solver, Noise(recipe.seed, identity))


def solver_of(host: Host, recipe: Recipe, operator: LinearOperator | None) -> Solver:
    """The recipe's solver with its options checked; refused in sentences when the operator lacks what it needs."""
    entry = host.find("solvers", str(recipe.solver["name"]))
    solver = cast(Solver, host.build("solvers", entry.name, recipe.solver_options(), where="solver"))
    sentences = [] if operator is None else refusals(entry.needs, operator)
    if sentences:
        raise UsageError(
            "E-RUN-04",
            f"The solver {entry.name!r} cannot run with {recipe.physics!r}: {' '.join(sentences)}",
            fix="medldm plugins matrix prints what runs with what.",
        )
    return solver


def start_image(host: Host, recipe: Recipe, posed: Posed) -> Tensor:
    """The first image ``(z, y, x)``: that of the physics, refined by the recipe's start solver if it names one."""
    start = posed.physics.start(posed.acquisition, posed.operator)
    if recipe.start:
        options = {key: value for key, value in recipe.start.items() if key != "solver"}
        solver = cast(Solver, host.build("solvers", str(recipe.start["solver"]), options, where="start"))
        start = run(solver.solve(posed.likelihood, None, start[None], posed.noise)).estimate[0]
    return start


def finished_volume(estimate: Tensor, acquisition: Acquisition, case: Volume | Acquisition, method: str) -> Volume:
    """An estimate ``(sample, z, y, x)`` in the unit of the scan: mean over samples, magnitude of a complex image."""
    image = estimate.mean(0)
    history = acquisition.history.then("reconstruct", method=method)
    if image.is_complex():
        image, history = image.abs(), history.then("magnitude")
    volume = Volume(
        data=image.float().cpu(),
        grid=acquisition.grid,
        quantity=acquisition.quantity,
        modality=acquisition.modality,
        name=case.name,
        history=history,
        source=case.source,
    )
    if acquisition.output.target == "HU":
        volume = volume.mapped(acquisition.output, "HU")
    return replace(volume, display=case.display if isinstance(case, Volume) else None)


def device_named(name: str) -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:1``."""
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError("E-RUN-05", f"There is no device {name!r}.", fix="auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (not available or (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError("E-RUN-05", f"The device {name!r} is not available.", fix="Use --device cpu, or auto.")
    return device
