"""What is wrong with the files and angles of a DICOM-CT-PD scan though every header that is read is whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from medldm.errors import Problem
from medldm_rawdata.projections.ct_pd_header import PIXELS, ProjectionHeader, quiet
from medldm_rawdata.projections.stated import damaged
from medldm_rawdata.projections.views import unit_doubt

Array = NDArray[np.float64]
# A DICOM file says what it is behind 128 bytes of nothing.
_HEAD = 132
# Of the views of a turn: a circle that lacks no more than this was meant to be one.
_FEW_ABSENT = 0.1
# A step of more than this, in radians, is that of degrees where the views of a turn are not stated.
_WIDE_STEP, _MANY = 0.3, 50
_PER_RADIAN = 180 / math.pi


def refuse_damaged(strays: Sequence[Path], headers: Sequence[ProjectionHeader]) -> None:
    """Refuse what was a projection among the files that are none now.

    Args:
        strays: files in which no projection was found.
        headers: of the projections beside them.

    Raises:
        InputRefused: E-PRJ-02.
    """
    endings = {header.file.suffix.lower() for header in headers}
    cut = [(file, *found) for file in strays if (found := _cut(file, endings))[0]]
    if not cut:
        return
    file, how, number = cut[0]
    if number is None and len(cut) == 1:
        number = _absent({header.number for header in headers if header.number is not None})
    named = "which projection it was is not known" if number is None else f"it was projection number {number}"
    raise damaged(file, f"{how}; {named}")


def _absent(numbers: set[int]) -> int | None:
    """The number that a single projection must have had; None where others are missing too."""
    if not numbers:
        return None
    absent = set(range(min(numbers), max(numbers) + 1)) - numbers
    if len(absent) < 2:
        # Views are counted from 1: of an unbroken series from there the last is gone.
        return absent.pop() if absent else max(numbers) + 1 if min(numbers) <= 1 else min(numbers) - 1
    return None


def _cut(file: Path, endings: set[str]) -> tuple[str, int | None]:
    """How a file is cut off, empty where it is another kind of file; and its number as far as that was stored."""
    if file.suffix.lower() not in endings or file.name.startswith(".") or file.name.upper() == "DICOMDIR":
        return "", None
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    if head[128:] != b"DICM":
        # Remarks and lists lie beside scans too; they are not made of zeros.
        short = len(head) < _HEAD and not head.strip(b"\0DICM")
        return (f"it ends after {len(head)} bytes", None) if short else ("", None)
    try:
        with quiet():
            tags: list[Any] = ["Modality", "InstanceNumber", PIXELS]
            dataset = pydicom.dcmread(file, specific_tags=tags, defer_size=1024)
            whole = PIXELS in dataset or str(dataset.get("Modality", "CT")) != "CT"
            stored = dataset.get("InstanceNumber")
            number = None if stored is None else int(stored)
    except Exception:  # a damaged file fails in any way
        whole, number = False, None
    return ("", None) if whole else ("it ends within its header", number)


def doubts(headers: Sequence[ProjectionHeader], absent: int, *, moves: bool) -> tuple[Problem, ...]:
    """Warnings from the angles and from the views of a turn that the headers state.

    Args:
        headers: of the views in order.
        absent: from their numbering, of which is warned already.
        moves: whether it is no circle.
    """
    per_turn = int(headers[0].numbers.get("views_per_turn", 0))
    angles = np.array([header["angle"] for header in headers])
    if (doubt := _unit(angles, per_turn)) is not None:
        return (doubt,)
    lacking = per_turn - len(headers) - absent
    if moves or not 0 < lacking <= _FEW_ABSENT * per_turn:
        return ()
    sentence = f"The headers state {per_turn} views in a turn, and there are {len(headers)}."
    return (Problem("E-PRJ-20", "warning", sentence, "Copy the scan again; each view keeps its angle."),)


def _unit(angles: Array, per_turn: int) -> Problem | None:
    """The step from view to view against that which the views of a turn make."""
    if len(angles) < 3:
        return None
    step = float(np.median(np.abs(np.diff(angles))))
    if per_turn > 2:
        factor = step * per_turn / (2 * math.pi)
        odd = min(abs(factor / _PER_RADIAN - 1), abs(factor * _PER_RADIAN - 1)) < 0.2
    else:
        odd = step > _WIDE_STEP and len(angles) >= _MANY
    if not odd:
        return None
    stated = f", and {per_turn} are stated for a turn" if per_turn > 2 else ""
    return unit_doubt(f"From view to view the angle grows by {step:.4g} radians{stated}.")
