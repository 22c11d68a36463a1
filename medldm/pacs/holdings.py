"""What an archive says that it has, asked by C-FIND, and which of it medldm reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medldm.pacs.packages import package

# What medldm reads, old and enhanced, and what it may have written itself.
STORAGE = (
    "CTImageStorage",
    "EnhancedCTImageStorage",
    "LegacyConvertedEnhancedCTImageStorage",
    "MRImageStorage",
    "EnhancedMRImageStorage",
    "LegacyConvertedEnhancedMRImageStorage",
    "ParametricMapStorage",
    "SecondaryCaptureImageStorage",
)
# Their series are read; one of another modality is no loss where its objects cannot be told to be of these kinds.
_MODALITIES = ("CT", "MR")
_PENDING = (0xFF00, 0xFF01)


@dataclass(frozen=True)
class Series:
    """A series of an archive.

    Attributes:
        uid: of it.
        modality: empty where the archive does not say.
        count: of its objects; None where the archive does not say, as it need not.
    """

    uid: str
    modality: str
    count: int | None

    def reads(self, kind: str, *, empty: bool) -> bool:
        """Whether an object that did not come belongs to what medldm reads, as far as that can be told.

        Args:
            kind: UID of its class, empty where the archive does not say.
            empty: nothing came of the series, as where no object is of a kind that was asked for.
        """
        if kind:
            return kind in {str(getattr(package("pynetdicom.sop_class"), name)) for name in STORAGE}
        return self.modality in _MODALITIES if self.modality else not empty

    def kind_in_words(self, kind: str) -> str:
        """What to call an object of it that was left out; nothing but known names is repeated."""
        known = package("pydicom.uid").UID(kind).name if kind else ""
        if known and known != kind:
            return str(known)
        return f"of modality {self.modality}" if re.fullmatch(r"[A-Z]{2,16}", self.modality) else "of unknown kind"


def identifier(study: str, series: str | None, level: str) -> Any:
    """A query of a study (``series`` None) or a series; it asks for what the level has to tell."""
    query = package("pydicom").Dataset()
    query.QueryRetrieveLevel = level
    query.StudyInstanceUID = study
    query.SeriesInstanceUID = series or ""
    return query


def series_of(association: Any, study: str, series: str | None) -> list[Series]:
    """The series of a study, or the one asked for; none where the archive knows no such study."""
    query = identifier(study, series, "SERIES")
    query.Modality = query.NumberOfSeriesRelatedInstances = ""
    rows, _ = _find(association, query)
    found = []
    for row in rows:
        uid, count = str(row.get("SeriesInstanceUID") or series or ""), row.get("NumberOfSeriesRelatedInstances")
        if uid:
            found.append(Series(uid, str(row.get("Modality") or ""), None if count in (None, "") else int(count)))
    return found


def objects_of(association: Any, study: str, series: str) -> Mapping[str, str]:
    """The class, empty where untold, of each object of a series by its UID; empty where the archive gives no list."""
    query = identifier(study, series, "IMAGE")
    query.SOPInstanceUID = query.SOPClassUID = ""
    rows, status = _find(association, query)
    if status != 0:
        return {}
    named = {str(row.get("SOPInstanceUID") or ""): str(row.get("SOPClassUID") or "") for row in rows}
    return {} if "" in named else named


def _find(association: Any, query: Any) -> tuple[list[Any], int]:
    """The rows of an answer, and its final status; 0xFFFF where the association is lost or the question not taken."""
    rows, last = [], 0xFFFF
    find = package("pynetdicom.sop_class").StudyRootQueryRetrieveInformationModelFind
    try:
        for status, row in association.send_c_find(query, find):
            last = int(status.Status) if status else 0xFFFF
            if last in _PENDING and row is not None:
                rows.append(row)
    except (ValueError, RuntimeError):
        last = 0xFFFF
    return rows, last
