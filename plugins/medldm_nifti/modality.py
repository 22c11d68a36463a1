"""What kind of scan a NIfTI file holds, which the format itself cannot say.

In this order, the first that answers: the user (``--modality``); the header's ``intent_name`` ``HU`` or ``1/mm``, which
medldm's own writer sets; ``Modality`` in a JSON sidecar of the same stem (BIDS, dcm2niix); integer values whose minimum
lies in [-3100, -900] are CT in HU, since air is -1000 HU, padding reaches down to -3024, and MR magnitude is not
negative. That last answer is an inference: it is logged and stands in the history. Otherwise ``OT``, arbitrary units.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from medldm.data import Quantity
from medldm.data.volume import Modality
from medldm_nifti.container import stem
from medldm_nifti.header import Header

_SIDECAR_LIMIT = 2**24
# "format" of the JSON beside a measurement that is stored as NIfTI: medldm-kspace, medldm-sinogram, ...
_MEASUREMENTS = "medldm-"
HU_MINIMUM = (-3100.0, -900.0)


@dataclass(frozen=True)
class Kind:
    """Modality and unit, and who said so."""

    modality: Modality
    quantity: Quantity
    said_by: Literal["user", "header", "sidecar", "values", "nobody"]


def is_measurement(path: Path) -> bool:
    """Whether the JSON file beside it says that its numbers are no image, but what was measured: a format of medldm.

    Such a JSON is of this file where it names it as its ``data``, or names none.
    """
    content = _beside(path)
    return str(content.get("format", "")).startswith(_MEASUREMENTS) and content.get("data", path.name) == path.name


def sidecar_file(path: Path) -> Path | None:
    """Where the JSON of an image stands, whether or not it is there; None where it describes another file."""
    other = str(_beside(path).get("format", "")).startswith(_MEASUREMENTS) and not is_measurement(path)
    return None if other else _json_of(path)


def _json_of(path: Path) -> Path:
    return path.with_name(f"{stem(path)}.json")


def _beside(path: Path) -> dict[str, Any]:
    file = _json_of(path)
    try:
        if not file.is_file() or file.stat().st_size > _SIDECAR_LIMIT:
            return {}
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _sidecar(path: Path) -> Modality | None:
    stated = _beside(path).get("Modality")
    if stated == "CT":
        return "CT"
    return "MR" if stated == "MR" else None


def stated(path: Path, header: Header, asked: Modality | None) -> Kind | None:
    """Modality and unit as far as they are written down; None when the values must be looked at."""
    unit: Quantity | None = "HU" if header.intent_name == "HU" else "1/mm" if header.intent_name == "1/mm" else None
    if asked is not None:
        quantity: Quantity = (unit or "HU") if asked == "CT" else "arbitrary"
        return Kind(asked, quantity, "user")
    if unit is not None:
        return Kind("CT", unit, "header")
    found = _sidecar(path)
    if found is not None:
        return Kind(found, "HU" if found == "CT" else "arbitrary", "sidecar")
    return None


def may_be_inferred(header: Header) -> bool:
    """Whether the stored type reaches down to air in HU at all, so that the values must be looked at."""
    if header.dtype.kind not in "iu":
        return False
    limits = np.iinfo(header.dtype.str)
    ends = (float(limits.min) * header.slope, float(limits.max) * header.slope)
    return min(ends) + header.intercept <= HU_MINIMUM[1]


def inferred(header: Header, data: Tensor) -> Kind:
    """Modality and unit from the values, by the rule at the top of this file."""
    low, high = HU_MINIMUM
    if may_be_inferred(header) and low <= float(data.min()) <= high:
        return Kind("CT", "HU", "values")
    return Kind("OT", "arbitrary", "nobody")
