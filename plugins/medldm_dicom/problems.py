"""Problems of a scan and the refusals they turn into: the sentence why stands once for each code."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Literal

from medldm.errors import InputRefused, Problem

_WHY = {
    "E-DCM-03": "There is no image to reconstruct.",
    "E-DCM-04": "Colours have no unit; a volume holds one value per voxel.",
    "E-DCM-05": "A small file that expands without bound would fill the memory.",
    "E-DCM-06": "The missing voxels cannot be invented.",
    "E-DCM-07": "The header is damaged or forged.",
    "E-DCM-12": "A volume has three axes; which one to take is a choice of the user.",
    "E-DCM-13": "The stored numbers cannot be turned into physical values.",
    "E-DCM-14": "The values would be mistaken for Hounsfield units.",
    "E-DCM-17": "Without them no frame can be placed in the patient.",
    "E-GEO-01": "Slices would be placed wrongly if they were stacked evenly.",
    "E-GEO-02": "Slices would be placed wrongly if they were stacked evenly.",
    "E-GEO-03": "The slices are shifted against each other, so the voxels form no right-angled grid.",
    "E-GEO-04": "One volume has one orientation.",
    "E-GEO-05": "It is not known which of them is the slice.",
    "E-GEO-06": "Voxels cannot be placed in the patient.",
    "E-GEO-07": "Images at one place, or turned about an axis, do not stack to a volume.",
    "E-GEO-08": "A localizer is a projection or a set of crossing planes, not a volume.",
    "E-GEO-09": "Voxels cannot be placed in the patient.",
    "E-GEO-10": "No affine grid describes such a stack.",
    "E-GEO-11": "A mosaic shows many slices on one picture.",
    "E-GEO-12": "With one distance only, a missing slice cannot be told from a wide spacing.",
}
# Of remarks that name a file or a header's own words, for records that must not repeat them.
_PLAIN = {
    "E-DCM-13": "No rescale is stated; stored numbers are taken as HU.",
    "E-DCM-15": "Parameters of the acquisition change within the series.",
    "E-DCM-16": "Some header values do not follow the standard.",
    "E-DCM-19": "A file begins like an executable program.",
    "E-DCM-22": "The files state no series; neighbours are taken as one.",
    "E-DCM-24": "The images were once compressed with loss.",
    "E-GEO-05": "Some places hold more than one image; copies with equal pixels are dropped.",
}
_NAMES_NOTHING = frozenset({"E-DCM-14", "E-GEO-13", "E-GEO-14"})


def error(code: str, sentence: str, remedy: str = "") -> Problem:
    """A problem for which reading is refused."""
    return Problem(code, "error", sentence, remedy)


def remark(code: str, severity: Literal["note", "warning"], sentence: str, remedy: str = "") -> Problem:
    """A problem that does not stop the reading."""
    return Problem(code, severity, sentence, remedy)


def without_names(problem: Problem) -> Problem:
    """The same remark in words that name no file and repeat no header."""
    if problem.code in _NAMES_NOTHING:
        return problem
    return replace(problem, sentence=_PLAIN.get(problem.code, "A file of the folder was left out."))


def refusal(problem: Problem) -> InputRefused:
    """The exception of a problem."""
    return InputRefused(problem.code, problem.sentence, why=_WHY.get(problem.code, ""), fix=problem.remedy)


def refuse_errors(problems: Collection[Problem], lifted: Collection[str] = ()) -> None:
    """Raise the first error whose code no option has lifted."""
    for problem in problems:
        if problem.severity == "error" and problem.code not in lifted:
            raise refusal(problem)


def printable(text: object, limit: int = 64) -> str:
    """Text of a header made fit for a terminal: no control characters, no escape sequences, bounded."""
    return re.sub(r"[^\w .,;:+*/()\[\]#=-]", "?", str(text)).strip()[:limit]
