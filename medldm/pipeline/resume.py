"""Whether a job is done already."""

from __future__ import annotations

from pathlib import Path

import medldm
from medldm.data import ReadRequest, Volume
from medldm.host import Host
from medldm.pipeline.chosen_prior import ChosenPrior, choose_prior
from medldm.pipeline.output import finished_record
from medldm.pipeline.reading import case_hash, read_case
from medldm.pipeline.recipe import Recipe


def job_of(recipe: Recipe, identity: str, prior: ChosenPrior | None = None) -> dict[str, str]:
    """What makes two runs the same job: content of the scan, resolved recipe, version, weights of the prior."""
    job = {"case": identity, "recipe": recipe.sha256, "medldm": medldm.__version__}
    return job if prior is None else job | {"weights": prior.weights_hash}


def already_finished(
    host: Host, source: Path, out: Path, recipe: Recipe, request: ReadRequest, slices: slice | None = None
) -> bool:
    """True when ``out`` holds the result of the same scan, recipe and version."""
    record = finished_record(out)
    if record is None:
        return False
    case = read_case(host, source, request)
    if slices is not None and isinstance(case, Volume):
        case = case.cropped(slices)
    return bool(record.get("job") == job_of(recipe, case_hash(case), choose_prior(host, recipe, case)))
