"""The page over all results of a batch; each result has its own report."""

from __future__ import annotations

import logging
from pathlib import Path

from medldm.report import write_index

log = logging.getLogger("medldm")


def refresh_index(out: Path) -> Path | None:
    """Write ``index.html`` over the results below ``out``; None where there is no result yet.

    Made of what lies in the output folders, so that it can be made again at any time. A batch does not fail for it.
    """
    try:
        return write_index(out)
    except Exception as error:  # a record of another version, a full disk: the results count, not the page
        log.info("no index of the batch: %s", error)
        return None
