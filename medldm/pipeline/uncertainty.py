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
    posed: Posed, problem: Problem, drawn: Ensemble, image: Volume, reference: Volume | None, wanted: tuple[str, ...]
) -> Uncertainty:
    """Maps, and their calibration where there is a truth.

    Args:
        posed: the measurement, whose likelihood says what it leaves free.
        problem: as the solver saw it.
        drawn: its samples.
        image: the result, their mean.
        reference: the truth; None without one.
        wanted: maps of the recipe.
    """
    share, record = None, dict[str, Any]()
    if problem.prior is not None and PRIOR_SHARE in wanted:
        u = problem.on_scan(drawn.estimate[None])[0]
        free = unmeasured_part(posed.likelihood, u)
        share = prior_share(u, free)
        record["unmeasured_energy"] = free_energy(u, free)
    maps = maps_of(drawn, image, posed.acquisition, posed.solver, share, wanted)
    if drawn.count > 1:
        record |= {"samples": drawn.count, "exact": is_exact(posed.solver)}
        record["chi_of_mean"] = float(problem.likelihood.chi(drawn.estimate[None]))
        if record["exact"]:
            record["interval"] = {"level": INTERVAL_LEVEL, "factor": "t_{n-1} sqrt(1 + 1/n) of the spread"}
        if reference is not None and SPREAD in maps:
            record["calibration"] = calibration(image, maps[SPREAD].volume, drawn.count, reference)
    if maps:
        record["maps"] = {name: found.meaning for name, found in maps.items()}
    return Uncertainty(maps, record)
