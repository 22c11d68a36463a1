"""Whether a job is done already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import medldm
from medldm.data import Acquisition, ReadRequest, Volume
from medldm.host import Host
from medldm.pipeline.checks import require_passed
from medldm.pipeline.chosen_prior import ChosenPrior, choose_prior
from medldm.pipeline.events import Event
from medldm.pipeline.output import finished_record
from medldm.pipeline.reading import case_hash, read_case, stated_hash
from medldm.pipeline.recipe import Recipe


def job_of(recipe: Recipe, case: Volume | Acquisition, prior: ChosenPrior | None = None) -> dict[str, str]:
    """What makes two runs the same job: what a scan holds and states, recipe, version, weights of the prior."""
    stated = stated_hash(case)
    job = {"case": case_hash(case), "stated": stated, "recipe": recipe.sha256, "medldm": medldm.__version__}
    return job if prior is None else job | {"weights": prior.weights_hash}


def name_of(job: Mapping[str, str]) -> str:
    """A folder's name for the job, which tells nothing of the scan: 16 digits of its hash."""
    return hashlib.sha256(json.dumps(dict(job), sort_keys=True).encode()).hexdigest()[:16]


def already_finished(
    host: Host,
    source: Path,
    out: Path,
    recipe: Recipe,
    request: ReadRequest,
    slices: slice | None = None,
    *,
    anonymous: bool = False,
) -> Path | None:
    """The folder that holds the whole result of the same scan, recipe and version: ``out`` or one in it; else None.

    Raises:
        GateFailed: the result is there, and failed its gates when it was made.
    """
    if not anonymous and finished_record(out) is None:
        return None  # not worth reading the scan
    case = read_case(host, source, request)
    if slices is not None and isinstance(case, Volume):
        case = case.cropped(slices)
    job = job_of(recipe, case, choose_prior(host, recipe, case))
    folder = out / name_of(job) if anonymous else out
    record = finished_record(folder)
    if record is None or record.get("job") != job:
        return None
    if not all((folder / name).is_file() for name in record.get("files", ())):
        return None
    require_passed(record.get("gates_failed", ()))
    return folder


def finished_before(folder: Path) -> Event:
    """What a run tells that finds its work in ``folder`` done: the numbers of the run that did it, and the path."""
    record = finished_record(folder) or {}
    numbers = {"chi": record.get("chi", []), **record.get("metrics", {}).get("reconstruction", {})}
    return Event("done", "already finished", {**numbers, "path": str(folder)})
