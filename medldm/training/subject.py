"""Whose scan it is: subjects are held back whole, so all scans of one bear one name."""

from __future__ import annotations

import re

from medldm.pipeline.endings import without_ending

# The entity that begins folders and files of a BIDS data set.
_BIDS = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)(?=[_/.]|$)")


def subject_of(relative: str, expression: str, *, folder: bool) -> str:
    """The name of a subject.

    Args:
        relative: path of the scan below the data folder.
        expression: of the rule; its first group names the subject. Where it is empty, or names none, a part
            ``sub-...`` of the path does (BIDS), else the name of the file without its ending, or of the folder.
        folder: whether the scan is a folder, whose name has no ending.
    """
    named = re.search(expression, relative) if expression else None
    if named and named.groups() and named.group(1):
        return named.group(1)
    bids = _BIDS.search(relative)
    if bids:
        return bids.group(1)
    name = relative.rpartition("/")[2]
    return name if folder else without_ending(name)
