"""Frames of an enhanced multi-frame file: attributes per frame, shared, or missing (DICOM PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medldm_dicom.frame import Frame, dimensions, orientation, positive, spacing, vector, window
from medldm_dicom.header import Header, integer, items, number, numbers, text
from medldm_dicom.problems import error, refusal

_SPATIAL = frozenset(
    {
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "InStackPositionNumber",
        "StackID",
        "FrameAcquisitionNumber",
        "PlanePositionSequence",
        "PlaneOrientationSequence",
    }
)
_PER_FRAME = Tag("PerFrameFunctionalGroupsSequence")
_CONTENT = ("TemporalPositionIndex", "FrameType", "ComplexImageComponent", "EffectiveEchoTime", "DiffusionBValue")
_GROUPS = (
    "FrameContentSequence",
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "MREchoSequence",
    "MRDiffusionSequence",
    "CardiacSynchronizationSequence",
    "ContrastBolusUsageSequence",
)


def is_enhanced(header: Header) -> bool:
    """True when the frames carry functional groups."""
    return "PerFrameFunctionalGroupsSequence" in header.dataset


def enhanced(header: Header) -> Iterator[Frame]:
    """All frames of the file, in stored order.

    Raises:
        InputRefused: ``E-DCM-17`` when groups and frames differ in number.
    """
    per_frame = items(header.dataset, "PerFrameFunctionalGroupsSequence")
    shared = (*items(header.dataset, "SharedFunctionalGroupsSequence"), Dataset())[0]
    if len(per_frame) != header.frames:
        raise refusal(
            error(
                "E-DCM-17",
                f"{header.file.name!r} has {header.frames} frames but {len(per_frame)} functional groups.",
                "Export the series again, or as single-frame images.",
            )
        )
    pointers = [integer(item, "DimensionIndexPointer") for item in items(header.dataset, "DimensionIndexSequence")]
    for index, groups in enumerate(per_frame):
        yield _frame(header, index, groups, shared, pointers)


def slice_header(frame: Frame) -> Dataset:
    """The data set of one plane: of a multi-frame file, the common part, its own groups and its frame number.

    ReferencedFrameNumber tells a writer which frame of the instance to refer to.
    """
    if not is_enhanced(frame.header):
        return frame.header.dataset
    whole = frame.header.dataset
    common = Dataset()
    for tag in whole.keys() - {_PER_FRAME}:
        common[tag] = whole.get_item(tag)
    common.PerFrameFunctionalGroupsSequence = [items(whole, "PerFrameFunctionalGroupsSequence")[frame.index]]
    common.ReferencedFrameNumber = frame.index + 1
    return common


def _macro(groups: Dataset, shared: Dataset, name: str) -> Dataset | None:
    found = items(groups, name) or items(shared, name)
    return found[0] if found else None


def _frame(header: Header, index: int, groups: Dataset, shared: Dataset, pointers: list[int | None]) -> Frame:
    position = _macro(groups, shared, "PlanePositionSequence")
    plane = _macro(groups, shared, "PlaneOrientationSequence")
    measures = _macro(groups, shared, "PixelMeasuresSequence")
    values = _macro(groups, shared, "PixelValueTransformationSequence")
    display = _macro(groups, shared, "FrameVOILUTSequence")
    top = header.dataset
    content = _macro(groups, shared, "FrameContentSequence")
    found: dict[str, str | float] = {}
    indices = numbers(content, "DimensionIndexValues") or ()
    # Files of some vendors state index values without saying what they index; those cannot be told from space.
    for pointer, value in zip(pointers, indices, strict=False):
        keyword = "" if pointer is None else keyword_for_tag(Tag(pointer))
        if keyword not in _SPATIAL:
            found[keyword or f"dimension {pointer}"] = value
    for name in _GROUPS:
        group = _macro(groups, shared, name)
        if group is not None:
            found.update({k: v for k, v in dimensions(group, _CONTENT).items() if k not in found})
    if "ConcatenationUID" not in top:
        found["InstanceNumber"] = number(top, "InstanceNumber") or 0.0
    return Frame(
        header,
        index,
        position=vector(position, "ImagePositionPatient"),
        orientation=orientation(plane),
        spacing=spacing(measures),
        thickness=positive(measures, "SliceThickness"),
        between=positive(measures, "SpacingBetweenSlices"),
        slope=number(values, "RescaleSlope"),
        intercept=number(values, "RescaleIntercept"),
        rescale_type=text(values, "RescaleType"),
        window=window(display),
        dimensions=found,
    )
