"""Which source images a written slice refers to: those nearest along the normal."""

from __future__ import annotations

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


def source_images(headers: Sequence[Dataset]) -> list[Dataset]:
    """Items of SourceImageSequence."""
    found = []
    for header in headers:
        item = reference(header)
        if item is not None:
            item.PurposeOfReferenceCodeSequence = [code("source")]
            found.append(item)
    return found


def referenced_series(headers: Sequence[Dataset]) -> list[Dataset]:
    """Items of ReferencedSeriesSequence: every source instance once, by series."""
    series: dict[str, dict[str, Dataset]] = {}
    for header in headers:
        item = reference(header)
        if item is not None and text(header, "SeriesInstanceUID"):
            item.pop("ReferencedFrameNumber", None)
            series.setdefault(text(header, "SeriesInstanceUID"), {}).setdefault(item.ReferencedSOPInstanceUID, item)
    found = []
    for uid, instances in series.items():
        group = Dataset()
        group.SeriesInstanceUID = uid
        group.ReferencedInstanceSequence = list(instances.values())
        found.append(group)
    return found
