"""The images beside a result that say how far to trust it: spread, interval, share of the prior."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from medldm.data import Acquisition, Volume
from medldm.data.provenance import Role
from medldm.errors import UsageError
from medldm.inference import Solver, is_exact
from medldm.pipeline.ensemble import Ensemble
from medldm.pipeline.recipe import NONE, Recipe

INTERVAL_LEVEL = 0.8
SPREAD, INTERVAL, PRIOR_SHARE = "spread", "interval", "prior-share"
# What ``outputs.maps`` of a recipe may name; all of them where it does not.
MAPS = (SPREAD, INTERVAL, PRIOR_SHARE)
LOWER, UPPER = "lower", "upper"


def chosen_maps(recipe: Recipe) -> tuple[str, ...]:
    """What the recipe wants of :data:`MAPS`.

    Raises:
        UsageError: E-RCP-10.
    """
    names = recipe.outputs.get("maps", MAPS)
    if names == NONE:
        return ()
    if not isinstance(names, (list, tuple)) or any(name not in MAPS for name in names):
        raise UsageError(
            "E-RCP-10",
            f"outputs.maps is {names!r}; it lists some of {', '.join(MAPS)}, or is none.",
            fix="For example: --set outputs.maps=[spread]",
        )
    return tuple(names)


@dataclass(frozen=True, eq=False)
class Map:
    """One of them.

    Attributes:
        volume: on the grid of the result; in its unit, but for a share.
        role: for its provenance.
        meaning: one line, for its provenance and the record.
    """

    volume: Volume
    role: Role
    meaning: str


def maps_of(
    drawn: Ensemble,
    image: Volume,
    acquisition: Acquisition,
    solver: Solver,
    share: Tensor | None,
    wanted: tuple[str, ...] = MAPS,
    model_error: float = 0.0,
) -> dict[str, Map]:
    """Whatever of them this run can tell, by the ending of their file names.

    Args:
        drawn: the samples.
        image: the result, their mean.
        acquisition: in whose unit the samples are.
        solver: that drew them; only an exact one has intervals.
        share: (z, y, x) of the prior; None without one.
        wanted: names out of :data:`MAPS`.
        model_error: that all samples share, in the acquisition's unit, for the intervals.
    """
    # An affine map to the unit of the result: differences have its scale only.
    to_result = acquisition.output if acquisition.output.target == "HU" else None
    scale = 1.0 if to_result is None else abs(to_result.scale)

    def volume(data: Tensor, event: str, **settings: Any) -> Volume:
        return replace(image.with_data(data.float().cpu(), event, **settings), display=None)

    found: dict[str, Map] = {}
    if drawn.count > 1:
        spread = drawn.spread * scale
        exact = is_exact(solver)
        meaning = f"sample standard deviation (n - 1) of {drawn.count} samples of " + (
            "the posterior" if exact else "the solver, which does not claim to draw from the posterior"
        )
        if SPREAD in wanted:
            found[SPREAD] = Map(volume(spread, "spread", samples=drawn.count), "spread", meaning)
        if exact and INTERVAL in wanted:
            ends = [end if to_result is None else to_result(end) for end in drawn.interval(INTERVAL_LEVEL, model_error)]
            lower, upper = torch.minimum(*ends), torch.maximum(*ends)
            if any(event.name == "magnitude" for event in image.history.events):
                lower = lower.clamp(min=0)
            settings = {"level": INTERVAL_LEVEL, "samples": drawn.count, "model_error": model_error * scale}
            below, above = volume(lower, "interval-lower", **settings), volume(upper, "interval-upper", **settings)
            found[LOWER] = Map(below, "interval-lower", interval_meaning(LOWER, drawn.count, model_error))
            found[UPPER] = Map(above, "interval-upper", interval_meaning(UPPER, drawn.count, model_error))
    if share is not None:
        found[PRIOR_SHARE] = Map(
            replace(volume(share, "prior-share"), quantity="arbitrary"),
            "prior-share",
            "share of each voxel that the measurement leaves free, |(I - R) u| / (|(I - R) u| + |R u|), "
            "R = (A^H W A + eps I)^-1 A^H W A; 0 measured, 1 from the prior",
        )
    return found


def interval_meaning(end: str, samples: int, model_error: float = 0.0) -> str:
    """What an end of the interval is, with its formula."""
    start = f"{end} end of the predictive {INTERVAL_LEVEL:.0%} interval, mean -+ t "
    if not model_error:
        return f"{start}s sqrt(1 + 1/n) with t of Student's law of n - 1 degrees of freedom, n = {samples}"
    return (
        f"{start}sqrt(s^2 (1 + 1/n) + b^2), n = {samples}, b the error that all samples share by the recipe, t of "
        "Student's law with Welch and Satterthwaite's degrees of freedom"
    )


def free_energy(u: Tensor, free: Tensor) -> list[float | None]:
    """Energy of the unmeasured part over that of the image, slice by slice; None for an empty slice."""
    parts = (free.abs().square().sum((-2, -1)) / u.abs().square().sum((-2, -1))).tolist()
    return [round(part, 6) if math.isfinite(part) else None for part in parts]
