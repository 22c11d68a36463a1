"""From a measurement and a recipe to a problem that a solver can take."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from medldm.data import Acquisition, Event, History, Volume
from medldm.errors import UsageError
from medldm.host import Entry, Host, blamed
from medldm.inference import Coherence, Gaussian, Likelihood, Noise, Physics, Solver
from medldm.inference.negotiation import OF_THE_PRIOR, refusals
from medldm.operators import LinearOperator
from medldm.pipeline.checked_solver import CheckedSolver, build_solver
from medldm.pipeline.chosen_physics import physics_of
from medldm.pipeline.chosen_prior import choose_prior
from medldm.pipeline.coherence import choose_coherence
from medldm.pipeline.loaded_prior import LoadedPrior, load_prior
from medldm.pipeline.reading import to_device
from medldm.pipeline.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Posed:
    """A measurement, how it came about, and the method to invert it.

    ``operator`` and ``likelihood`` are those of the scan's own grid and unit; what a solver with a prior works on
    follows from them, see :func:`medldm.pipeline.problem.problem_of`. ``physics_entry`` and ``solver_entry`` are their
    registrations, which messages name.
    """

    acquisition: Acquisition
    physics: Physics
    operator: LinearOperator
    likelihood: Likelihood
    solver: Solver
    physics_entry: Entry
    solver_entry: Entry
    noise: Noise
    prior: LoadedPrior | None = None
    coherence: Coherence = field(default_factory=Coherence)

    def start(self) -> Tensor:
        """The start image ``(z, y, x)`` of the physics."""
        with blamed(self.physics_entry):
            return self.physics.start(self.acquisition, self.operator)

    def checked(self, solver: Solver | None = None) -> CheckedSolver:
        """The solver, or the same with other options, held to its contract while it runs."""
        return CheckedSolver(solver or self.solver, self.solver_entry)


def pose(host: Host, recipe: Recipe, acquisition: Acquisition, identity: str, device: torch.device) -> Posed:
    """Operator, likelihood, solver and prior; refused in sentences when they do not fit together, or without noise.

    Args:
        host: plugins.
        recipe: whose physics must be that of the acquisition.
        acquisition: the measurement.
        identity: hash of the case, which addresses its random draws.
        device: where to compute.
    """
    physics = physics_of(host, recipe, acquisition)
    coherence = choose_coherence(host, recipe).coherence
    prior = load_prior(host, choose_prior(host, recipe, acquisition), acquisition.grid, device)
    solver_of(host, recipe, None)  # a misspelt option is found before anything heavy is built
    acquisition = to_device(acquisition, device)
    physics_entry = host.find("operators", recipe.physics)
    with blamed(physics_entry):
        operator = physics.operator(acquisition, acquisition.grid).to(device)
        operator.domain = replace(operator.domain, spacing=acquisition.grid.spacing)  # for regularisers
        likelihood = physics.likelihood(acquisition, operator)
    if isinstance(likelihood, Gaussian):
        likelihood.require_noise()  # least squares need none, but the fit of what they make is judged by it
    solver = _solver_for(host, recipe, physics, operator, prior)
    noise = Noise(recipe.seed, identity)
    solver_entry = _solver_entry(host, recipe)
    return Posed(
        acquisition, physics, operator, likelihood, solver, physics_entry, solver_entry, noise, prior, coherence
    )


def with_solver(host: Host, recipe: Recipe, posed: Posed) -> Posed:
    """The same measurement and operator with the solver, and the prior and coherence if any, of another recipe."""
    acquisition = posed.acquisition
    coherence = choose_coherence(host, recipe).coherence
    prior = load_prior(host, choose_prior(host, recipe, acquisition), acquisition.grid, acquisition.data.device)
    solver = _solver_for(host, recipe, posed.physics, posed.operator, prior)
    return replace(posed, solver=solver, solver_entry=_solver_entry(host, recipe), prior=prior, coherence=coherence)


def _solver_entry(host: Host, recipe: Recipe) -> Entry:
    return host.find("solvers", str(recipe.solver["name"]))


def _solver_for(
    host: Host, recipe: Recipe, physics: Physics, operator: LinearOperator, prior: LoadedPrior | None
) -> Solver:
    if prior is None:
        return solver_of(host, recipe, operator)
    prior.require_phase(physics, operator)
    return solver_of(host, recipe, prior.seen_from_here(operator))


def solver_of(host: Host, recipe: Recipe, operator: LinearOperator | None) -> Solver:
    """The recipe's solver with its options checked; refused in sentences when the operator lacks what it needs."""
    entry = _solver_entry(host, recipe)
    solver = build_solver(host, entry.name, recipe.solver_options(), where="solver")
    needs = [word for word in entry.needs if word not in OF_THE_PRIOR]
    sentences = [] if operator is None else refusals(needs, operator)
    if sentences:
        raise UsageError(
            "E-RUN-04",
            f"The solver {entry.name!r} cannot run with {recipe.physics!r}: {' '.join(sentences)}",
            fix="medldm plugins matrix prints what runs with what.",
        )
    return solver


def finished_volume(
    estimate: Tensor, acquisition: Acquisition, case: Volume | Acquisition, method: str, events: tuple[Event, ...] = ()
) -> Volume:
    """An image in the unit in which scans are written: the mean over samples of their magnitudes, where complex.

    Args:
        estimate: (sample, z, y, x) in the acquisition's unit, on its grid.
        acquisition: what was measured.
        case: what was read.
        method: for the history.
        events: what was done to the estimate since the solver, for the history.
    """
    history = acquisition.history.then("reconstruct", method=method)
    history = History((*history.events, *events))
    if estimate.is_complex():
        estimate, history = estimate.abs(), history.then("magnitude")
    image = estimate.mean(0)
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
