"""Attributes that ought to be one within a series: kernel, voltage, echo, contrast. Mixed ones are warned of."""

from __future__ import annotations

from collections.abc import Sequence

from medldm.errors import Problem
from medldm_dicom.frame import Frame
from medldm_dicom.header import Header, text, words
from medldm_dicom.problems import error, printable, remark

_CONSTANT = (
    "ConvolutionKernel",
    "KVP",
    "EchoTime",
    "RepetitionTime",
    "ContrastBolusAgent",
    "AcquisitionNumber",
    "FilterType",
    "SliceThickness",
)
# CT RescaleType of values that are no Hounsfield units (DICOM PS3.3 C.11.1.1.2).
_OTHER_UNITS = frozenset({"OD", "PCT", "Z_EFF", "ED", "EDW", "HU_MOD", "MGML", "US_OTHER"})


def mixed_parameters(frames: Sequence[Frame]) -> list[Problem]:
    """One warning for each acquisition parameter that takes several values."""
    headers: list[Header] = list({id(frame.header): frame.header for frame in frames}.values())
    problems = []
    for keyword in _CONSTANT:
        values = {"\\".join(words(header.dataset, keyword)) for header in headers}
        if len(values) > 1:
            shown = ", ".join(sorted(printable(value, 24) or "(none)" for value in values)[:4])
            problems.append(
                remark(
                    "E-DCM-15",
                    "warning",
                    f"{keyword} takes {len(values)} values in one series: {shown}.",
                    "Check that the slices belong to one image.",
                )
            )
    return problems


def units(frames: Sequence[Frame], modality: str) -> list[Problem]:
    """Whether the rescale leads to the unit that the modality stands for."""
    first = frames[0]
    types = {frame.rescale_type.upper() for frame in frames}
    problems: list[Problem] = []
    for frame in frames:
        if frame.slope == 0 or not all(abs(v) < 1e30 for v in (frame.slope or 1.0, frame.intercept or 0.0)):
            problems.append(
                error(
                    "E-DCM-13",
                    f"{frame.label!r} states the rescale slope {frame.slope} and intercept {frame.intercept}.",
                    "Repair the header, or export the series again.",
                )
            )
            break
    if modality != "CT":
        return problems
    if types & _OTHER_UNITS:
        problems.append(
            error(
                "E-DCM-14",
                f"{first.label!r} holds values of type {sorted(types & _OTHER_UNITS)[0]}, not HU.",
                "Choose the series in Hounsfield units.",
            )
        )
    elif types - {"", "HU"}:
        problems.append(
            remark(
                "E-DCM-14", "warning", f"RescaleType {printable(sorted(types)[-1], 16)} is taken as HU.", "Check it."
            )
        )
    if first.slope is None:
        problems.append(
            remark("E-DCM-13", "warning", f"{first.label!r} states no rescale; stored numbers are taken as HU.")
        )
    return problems


def modality_of(frames: Sequence[Frame]) -> str:
    """Modality as the header states it."""
    return text(frames[0].header.dataset, "Modality")
