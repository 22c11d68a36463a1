"""The pages that people look at: a report in every result, an index over all of them. Both come from medldm.report."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medldm.errors import MedldmError

log = logging.getLogger("medldm")
_REPORT = "medldm.report"


def pages_of_results() -> dict[str, Any]:
    """What ``reconstruct`` is asked for besides: the report, where there is that layer."""
    if find_spec(_REPORT) is None:
        return {}
    report_page: Callable[..., list[Path]] = import_module(_REPORT).report_page
    return {"pages": [report_page]}


def write_index(out: Path) -> Path | None:
    """Write ``index.html`` over the results below ``out``; None where there is no result, or no layer of reports.

    Made of the manifests and records in the output folders, so that it can be made again at any time. A batch is not
    failed for its index.
    """
    if find_spec(_REPORT) is None:
        return None
    index = import_module(f"{_REPORT}.index")
    try:
        written: Path = index.write_index(out)
    except (MedldmError, OSError) as error:
        log.warning("no index of the batch: %s", error)
        return None
    return written
