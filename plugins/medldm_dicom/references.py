"""Which source images a written slice refers to: those nearest along the normal."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medldm.data import Grid
from medldm_dicom.derived import code
from medldm_dicom.frame import vector
from medldm_dicom.header import integer, items, text


def positions(headers: Sequence[Dataset]) -> NDArray[np.float64] | None:
    """(n, 3) ImagePositionPatient of the source slices in LPS mm; None when one states none."""
    found = []
    for header in headers:
        groups = (*items(header, "PerFrameFunctionalGroupsSequence"), header)[0]
        plane = (*items(groups, "PlanePositionSequence"), header)[0]
        found.append(vector(plane, "ImagePositionPatient"))
    return None if any(p is None for p in found) or not found else np.array(found)


def nearest(grid: Grid, index: int, places: NDArray[np.float64]) -> list[int]:
    """Source slices within half a step of slice ``index``; the closest one when there is none."""
    normal = np.cross(grid.directions[:, 2], grid.directions[:, 1])
    along = np.abs((places - grid.world((index, 0, 0))) @ normal)
    within = np.flatnonzero(along <= grid.spacing[0] / 2 * (1 + 1e-3))
    return [int(j) for j in within] if len(within) else [int(np.argmin(along))]


def reference(header: Dataset) -> Dataset | None:
    """A reference to the instance, and to the frame of a multi-frame instance; None when it has no identifier."""
    if not (text(header, "SOPClassUID") and text(header, "SOPInstanceUID")):
        return None
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
        text(header, "SOPClassUID"),
        text(header, "SOPInstanceUID"),
    )
    frame = integer(header, "ReferencedFrameNumber")
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def refer(image: Dataset, headers: Sequence[Dataset]) -> None:
    """Name the source images of one slice (SourceImageSequence) and, once more, the series they are in.

    ReferencedSeriesSequence lists what this instance refers to, not the whole source (PS3.3 C.12.2).
    """
    sources: list[Dataset] = []
    series: dict[str, dict[str, Dataset]] = {}
    for header in headers:
        item = reference(header)
        if item is None:
            continue
        named = copy.deepcopy(item)
        named.PurposeOfReferenceCodeSequence = [code("source")]
        sources.append(named)
        if text(header, "SeriesInstanceUID"):
            item.pop("ReferencedFrameNumber", None)
            series.setdefault(text(header, "SeriesInstanceUID"), {}).setdefault(item.ReferencedSOPInstanceUID, item)
    if sources:
        image.SourceImageSequence = sources
    if series:
        image.ReferencedSeriesSequence = [_series(uid, list(found.values())) for uid, found in series.items()]


def _series(uid: str, instances: list[Dataset]) -> Dataset:
    group = Dataset()
    group.SeriesInstanceUID = uid
    group.ReferencedInstanceSequence = instances
    return group
