"""Whether a job is done already."""

from __future__ import annotations

from pathlib import Path

import medldm
from medldm.data import ReadRequest, Volume
from medldm.host import Host
from medldm.pipeline.output import finished_record
from medldm.pipeline.reading import case_hash, read_case
from medldm.pipeline.recipe import Recipe


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
    job = {"case": case_hash(case), "recipe": recipe.sha256, "medldm": medldm.__version__}
    return bool(record.get("job") == job)
