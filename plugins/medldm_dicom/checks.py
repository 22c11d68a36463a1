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
_REPAIR = "Repair the header, or export the series again."


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


def rescale(volumes: Sequence[Sequence[Frame]], modality: str) -> list[Problem]:
    """Whether slope and intercept turn the stored numbers of each volume into values that belong together.

    MR and PET often state none, or a slope alone, and the intercept is 0 then. In CT it hardly ever is.
    """
    frames = [frame for volume in volumes for frame in volume]
    for frame in frames:
        if fault := _fault(frame, modality):
            return [error("E-DCM-13", f"{frame.label!r} states {fault}.", _REPAIR)]
    for volume in volumes:
        bare = [frame for frame in volume if not _states_rescale(frame)]
        mapped = [frame for frame in volume if (frame.slope or 1.0, frame.intercept or 0.0) != (1.0, 0.0)]
        if bare and mapped:
            sentence = (
                f"{len(bare)} of {len(volume)} images of one volume state no rescale, first {bare[0].label!r}; "
                f"{mapped[0].label!r} does."
            )
            return [error("E-DCM-13", sentence, _REPAIR)]
    unstated = next((frame for frame in frames if not _states_rescale(frame)), None)
    if modality == "CT" and unstated is not None:
        sentence = f"{unstated.label!r} states no rescale; stored numbers are taken as HU."
        return [remark("E-DCM-13", "warning", sentence)]
    return []


def _states_rescale(frame: Frame) -> bool:
    return frame.slope is not None or frame.intercept is not None


def _fault(frame: Frame, modality: str) -> str:
    """What is wrong with the rescale of one image; empty where nothing is."""
    slope, intercept = frame.slope, frame.intercept
    if slope == 0 or not all(abs(value) < 1e30 for value in (slope or 1.0, intercept or 0.0)):
        return f"the rescale slope {slope} and intercept {intercept}"
    if modality == "CT" and (slope is None) != (intercept is None):
        return "a rescale intercept without a slope" if slope is None else "a rescale slope without an intercept"
    return ""


def units(frames: Sequence[Frame], modality: str) -> list[Problem]:
    """Whether the rescale leads to the unit that the modality stands for."""
    first = frames[0]
    types = {frame.rescale_type.upper() for frame in frames}
    problems: list[Problem] = []
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
    return problems


def modality_of(frames: Sequence[Frame]) -> str:
    """Modality as the header states it."""
    return text(frames[0].header.dataset, "Modality")
