"""How far a result can be trusted: the maps beside it, and what the record says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medldm.data import Volume
from medldm.inference import is_exact
from medldm.inference.prior_share import prior_share, unmeasured_part
from medldm.pipeline.calibration import calibration
from medldm.pipeline.ensemble import Ensemble
from medldm.pipeline.maps import INTERVAL_LEVEL, PRIOR_SHARE, SPREAD, Map, free_energy, maps_of
from medldm.pipeline.posing import Posed
from medldm.pipeline.problem import Problem


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """The maps by the ending of their file names, and plain JSON for ``run.json``; what there is."""

    maps: Mapping[str, Map]
    record: Mapping[str, Any]


def uncertainty_of(
    posed: Posed,
    problem: Problem,
    drawn: Ensemble,
    image: Volume,
    reference: Volume | None,
    wanted: tuple[str, ...],
    model_error: float = 0.0,
) -> Uncertainty:
    """Maps, and their calibration where there is a truth.

    Args:
        posed: the measurement, whose likelihood says what it leaves free.
        problem: as the solver saw it.
        drawn: its samples.
        image: the result, their mean.
        reference: the truth; None without one.
        wanted: maps of the recipe.
        model_error: of the intervals, in the prior's model values.
    """
    share, record = None, dict[str, Any]()
    if problem.prior is not None and PRIOR_SHARE in wanted:
        u = problem.on_scan(drawn.estimate[None])[0]
        free = unmeasured_part(posed.likelihood, u)
        share = prior_share(u, free)
        record["unmeasured_energy"] = free_energy(u, free)
    exact, output = is_exact(posed.solver), posed.acquisition.output
    # Of an exact sampler only: intervals of the others are none, and are calibrated as they are.
    error = abs(problem.scale) * model_error if exact else 0.0
    in_result = error * (abs(output.scale) if output.target == "HU" else 1.0)
    maps = maps_of(drawn, image, posed.acquisition, posed.solver, share, wanted, error)
    if drawn.count > 1:
        record |= {"samples": drawn.count, "exact": exact}
        record["chi_of_mean"] = float(problem.likelihood.chi(drawn.estimate[None]))
        if exact:
            record["interval"] = {
                "level": INTERVAL_LEVEL,
                "half_width": "t sqrt(s^2 (1 + 1/n) + b^2)",
                "model_error": in_result,
            }
        if reference is not None and SPREAD in maps:
            record["calibration"] = calibration(image, maps[SPREAD].volume, drawn.count, reference, in_result)
    if maps:
        record["maps"] = {name: found.meaning for name, found in maps.items()}
    return Uncertainty(maps, record)
