"""Names of results: usable on every system, no two the same, none inside another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from medldm.batch.row import Row
from medldm.errors import UsageError
from medldm.pipeline.endings import without_ending

# Besides results, the output folder holds these.
STATE = ".medldm-batch"
RECORDS = "medldm"
_PLAIN = re.compile(r"[^A-Za-z0-9._=+-]+")
_LONGEST = 100
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_SHOWN = 10


def made_of(relative: Path, *, folder: bool = False) -> str:
    """A name made of an input's path below the folder that was scanned: ``p1/brain.nii.gz`` is ``p1/brain``.

    Args:
        relative: the path; that of the folder itself gives ``scan``.
        folder: whether a folder lies there, whose name has no ending.
    """
    *above, last = relative.parts or ("scan",)
    return "/".join(_part(part) for part in (*above, last if folder else without_ending(last)))


def _part(text: str) -> str:
    plain = _PLAIN.sub("-", text).strip("-.")[:_LONGEST].rstrip("-.") or "scan"
    first, dot, rest = plain.partition(".")
    return f"{first}-scan{dot}{rest}" if first.lower() in _DEVICES else plain


def distinct(names: Sequence[str]) -> list[str]:
    """The names, made different where two are the same or one is a folder of another."""
    folders = {str(parent).lower() for name in names for parent in PurePosixPath(name).parents}
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, number = name, 1
        while candidate.lower() in taken or candidate.lower() in folders:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.lower())
        result.append(candidate)
    return result


def check_names(rows: Sequence[Row], lines: Sequence[int] | None = None) -> None:
    """Refuse names that cannot be, or cannot be together.

    Args:
        rows: those without a name are named by their hash and not looked at.
        lines: of the manifest they stand in, for the message.

    Raises:
        UsageError: E-BAT-05 a name is not possible; E-BAT-04 two rows have the same, or one lies inside another.
    """
    where = list(lines) if lines is not None else list(range(1, len(rows) + 1))
    named = [(row.output, line) for row, line in zip(rows, where, strict=True) if row.output]
    for name, line in named:
        if name != "/".join(_part(part) for part in name.split("/")) or name.split("/")[0].lower() == RECORDS:
            raise UsageError(
                "E-BAT-05",
                f"The output {name!r} of line {line} is no usable name.",
                why="Names are letters, digits and ._=+- in parts of up to 100, without '..' and leading dots.",
                fix="Choose a plain name such as patient-12/brain.",
            )
    lower: dict[str, int] = {}
    clashes = []
    for name, line in named:
        if name.lower() in lower:
            clashes.append(f"{name} (lines {lower[name.lower()]} and {line})")
        lower.setdefault(name.lower(), line)
    for name, line in named:
        for parent in PurePosixPath(name.lower()).parents:
            if str(parent) in lower:
                clashes.append(f"{name} (line {line}) lies inside the output of line {lower[str(parent)]}")
    if clashes:
        more = f", and {len(clashes) - _SHOWN} more" if len(clashes) > _SHOWN else ""
        raise UsageError(
            "E-BAT-04",
            f"Two scans have the same output: {'; '.join(clashes[:_SHOWN])}{more}.",
            why="One would replace the other.",
            fix="Give each scan an output of its own.",
        )
