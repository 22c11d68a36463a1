"""How long a run will take, from a few of its steps on a few of its slices."""

from __future__ import annotations

import time
from itertools import islice

from medldm.data import Acquisition, Volume
from medldm.host import Host
from medldm.pipeline.events import Teller
from medldm.pipeline.posing import device_named, pose, start_image
from medldm.pipeline.problem import problem_of
from medldm.pipeline.reading import case_hash
from medldm.pipeline.recipe import Recipe
from medldm.pipeline.simulate import measure
from medldm.pipeline.trial import trial_of

_PROBE_SLICES = 4
_PROBE_STEPS = 3


def estimate_seconds(host: Host, recipe: Recipe, case: Volume | Acquisition, device: str = "auto") -> float | None:
    """Seconds that a reconstruction will take, by running its first steps on four slices.

    Simulation, set-up, start and trial count once per probe slice or step as measured; the first step warms up and does
    not count. None for a measurement, which cannot be cut into slices without knowing its physics.
    """
    if isinstance(case, Acquisition):
        return None
    depth = case.grid.shape[0]
    first = max(0, depth // 2 - _PROBE_SLICES // 2)
    probe = case.cropped(slice(first, min(depth, first + _PROBE_SLICES)))
    scale = depth / probe.grid.shape[0]

    begun = time.perf_counter()
    acquisition = measure(host, recipe, probe, Teller())
    measured = time.perf_counter() - begun
    begun = time.perf_counter()
    posed = pose(host, recipe, acquisition, case_hash(probe), device_named(device))
    set_up = time.perf_counter() - begun
    begun = time.perf_counter()
    start = start_image(host, recipe, posed)
    problem = problem_of(posed, start)
    trial_of(host, recipe, posed, problem, start, Teller())
    started = time.perf_counter() - begun

    ticks = []
    total = 1
    steps = posed.solver.solve(problem.likelihood, problem.prior, problem.start, problem.noise)
    for step in islice(steps, _PROBE_STEPS + 1):
        ticks.append(time.perf_counter())
        total = step.total
    per_step = (ticks[-1] - ticks[0]) / max(1, len(ticks) - 1) if len(ticks) > 1 else 0.0
    return set_up + scale * (measured + started + recipe.samples * total * per_step)
