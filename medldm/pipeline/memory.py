"""What a run will need, stated before it starts."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medldm.data import Acquisition, Grid, Volume
from medldm.errors import OutOfMemory, UsageError
from medldm.host import Host
from medldm.inference import StatesMemory, StatesSimulationMemory
from medldm.pipeline.checked_solver import build_solver
from medldm.pipeline.chosen_physics import physics_of
from medldm.pipeline.chosen_prior import ChosenPrior
from medldm.pipeline.recipe import Recipe

# Python, torch and the plugins without any scan, measured as resident memory after `import medldm_ct`.
_PROGRAM_BYTES = 450 * 2**20
# Image-sized arrays that a run holds besides those of the solver: truth, start, estimate, output, metrics.
_IMAGES_OF_THE_PIPELINE = 6
# Besides, for several samples: their mean, squares and first, and the solver's own mean twice as large where complex.
_IMAGES_OF_SAMPLES = 5
# Image-sized and measurement-sized arrays that a solver holds at its peak, where it does not say.
_IMAGES_OF_A_SOLVER = 8
_MEASUREMENTS_OF_A_SOLVER = 2
# The program keeps freed pages (medldm/pipeline/allocator.py), and not all of them fit the next array.
_KEPT_PAGES = 1.3


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes a run is expected to need at its peak.

    ``samples_at_once`` is how many samples the solver works on together, which its bytes hold, ``slices_at_once`` how
    many slices a prior's network takes together, where memory allows no more; None leaves it to recipe and prior.
    ``simulation`` is over before operator, solver and prior are there, so the larger of both counts.
    """

    physics: int
    solver: int
    pipeline: int
    prior: int = 0
    simulation: int = 0
    samples_at_once: int = 1
    slices_at_once: int | None = None

    def streamed(self, recipe: Recipe) -> Recipe:
        """The recipe in pieces that the memory allows: the same images come of it but for the rounding of sums."""
        if self.slices_at_once is None:
            return recipe
        return with_slices_at_once(recipe, self.slices_at_once)

    @property
    def total(self) -> int:
        """All that is there at a time."""
        return round(_KEPT_PAGES * self._arrays) + _PROGRAM_BYTES

    @property
    def rest(self) -> int:
        """All but the solver, which takes more for more samples at once."""
        return round(_KEPT_PAGES * (self.physics + self.pipeline + self.prior)) + _PROGRAM_BYTES

    @property
    def _arrays(self) -> int:
        return self.physics + self.solver + self.pipeline + self.prior + self._simulation_beyond

    @property
    def _simulation_beyond(self) -> int:
        """What the simulation takes more than what comes after it."""
        return max(0, self.simulation - self.physics - self.solver - self.prior)

    def as_dict(self) -> dict[str, int]:
        """As plain JSON; ``simulation`` is what it takes beyond the others."""
        return {
            "physics": self.physics,
            "solver": self.solver,
            "pipeline": self.pipeline,
            "prior": self.prior,
            "simulation": self._simulation_beyond,
            "program": self.total - self._arrays,
            "total": self.total,
        }


def with_slices_at_once(recipe: Recipe, count: int) -> Recipe:
    """The recipe whose prior takes so many slices together."""
    return replace(recipe, prior={**recipe.prior, "slices_at_once": count})


def plan_memory(
    host: Host,
    recipe: Recipe,
    grid: Grid,
    *,
    is_complex: bool,
    measured: Acquisition | None = None,
    prior: ChosenPrior | None = None,
) -> MemoryPlan:
    """Predict the peak memory of a reconstruction on ``grid``, one sample at a time.

    Args:
        host: plugins; a physics states its own need, a solver how many images and measurements it holds
            (``images_held``, ``measurements_held``).
        recipe: what will run.
        grid: of the image.
        is_complex: whether images are complex inside the solver.
        measured: measurement that exists already.
        prior: that takes part.

    Raises:
        UsageError: ``E-RUN-03`` the measurement is of another physics than the recipe's.
    """
    voxels = math.prod(grid.shape)
    image = voxels * (8 if is_complex else 4)
    physics: Any
    if measured is None:
        physics = host.build("operators", recipe.physics, recipe.physics_options(), where="acquisition")
    else:
        physics = physics_of(host, recipe, measured)
    states = isinstance(physics, StatesMemory)
    need = physics.bytes_needed(grid, measured) if states else 4 * image
    stored = 0 if measured is None else measured.data.element_size() * measured.data.numel()
    states_simulation = isinstance(physics, StatesSimulationMemory) and measured is None
    simulation = physics.simulation_bytes(grid) if states_simulation else 0
    measurement = stored or (physics.measurement_bytes(grid) if states else image)
    solver = build_solver(host, str(recipe.solver["name"]), recipe.solver_options(), where="solver")
    images = int(getattr(solver, "images_held", _IMAGES_OF_A_SOLVER))
    measurements = int(getattr(solver, "measurements_held", _MEASUREMENTS_OF_A_SOLVER))
    held = images * image + measurements * measurement
    pipeline = (_IMAGES_OF_THE_PIPELINE + (_IMAGES_OF_SAMPLES if recipe.samples > 1 else 0)) * voxels * 4
    if prior is None:
        return MemoryPlan(max(need, stored), held, pipeline, simulation=simulation)
    # The solver works on the prior's grid.
    held = held * math.prod(prior.plan.grid.shape) // voxels
    return MemoryPlan(max(need, stored), held, pipeline, prior.bytes_needed(), simulation)


def check_memory(
    host: Host, recipe: Recipe, case: Volume | Acquisition, limit: int | None, prior: ChosenPrior | None = None
) -> MemoryPlan:
    """The plan of a case, with as many samples and slices of a network at once as fit; refused when not one does.

    Args:
        host: plugins.
        recipe: what will run.
        case: what is read.
        limit: bytes; the memory that is free when None.
        prior: that takes part.

    Raises:
        OutOfMemory: E-MEM-01.
    """
    is_complex = case.modality == "MR" or case.data.is_complex()
    measured = case if isinstance(case, Acquisition) else None
    plan = plan_memory(host, recipe, case.grid, is_complex=is_complex, measured=measured, prior=prior)
    allowed = limit if limit is not None else available_bytes()
    if allowed is not None and prior is not None:
        plan = _in_pieces(plan, prior, allowed)
    if allowed is not None and plan.total > allowed:
        source = "--max-memory allows" if limit is not None else "this machine has free"
        raise OutOfMemory(
            "E-MEM-01",
            f"This run needs about {in_words(plan.total)}; {source} {in_words(allowed)}.",
            why="It would be killed in the middle, or make the machine swap.",
            # Slices of a measurement may be coupled by its physics, and --slices is refused.
            fix="Reconstruct fewer slices at a time with --slices, or raise --max-memory."
            if measured is None
            else "Raise --max-memory, or free memory.",
        )
    at_once = recipe.samples
    if allowed is not None and plan.solver:
        at_once = max(1, min(at_once, int((allowed - plan.rest) / (_KEPT_PAGES * plan.solver))))
    return replace(plan, solver=at_once * plan.solver, samples_at_once=at_once)


def _in_pieces(plan: MemoryPlan, prior: ChosenPrior, allowed: int) -> MemoryPlan:
    """The plan with the most slices of a network at once that fit, half as many again and again; one where none do."""
    at_once = prior.slices_at_once
    while plan.total > allowed and at_once > prior.card.slab:
        at_once = max(prior.card.slab, at_once // 2)
        fewer = replace(prior, section=replace(prior.section, slices_at_once=at_once))
        plan = replace(plan, prior=fewer.bytes_needed(), slices_at_once=at_once)
    return plan


def available_bytes() -> int | None:
    """Memory that is free now; None where the system does not tell."""
    if sys.platform == "linux":
        match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        if match:
            return int(match[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def in_words(count: int) -> str:
    """``3.2 GiB``."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def parse_bytes(text: str) -> int:
    """``8G``, ``500M`` or a number of bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(?:i?[bB])?\s*", text)
    if not match or float(match[1]) == 0:
        raise UsageError("E-RUN-10", f"{text!r} is not an amount of memory.", fix="For example: --max-memory 8G")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
