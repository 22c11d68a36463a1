"""One scan of a batch, as a manifest's line says it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medldm.data.volume import Modality


@dataclass(frozen=True)
class Row:
    """What is to be reconstructed, and where the result goes.

    Attributes:
        input: file or folder of the scan, absolute.
        output: name of the result, a relative path in the output folder; empty lets the hash of the job name it.
        series: of a folder that holds several, as ``--series`` takes it.
        volume_index: of a file that holds several volumes.
        modality: where the file cannot tell.
        truth: reference image for the metrics, absolute.
        recipe: another recipe than that of the batch; empty for the same.
        set: assignments that change the recipe.
        bids: the input's place in its BIDS data set; empty for other inputs.
    """

    input: Path
    output: str = ""
    series: str | None = None
    volume_index: int | None = None
    modality: Modality | None = None
    truth: Path | None = None
    recipe: str = ""
    set: tuple[str, ...] = ()
    bids: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        fields = {
            "input": str(self.input),
            "output": self.output,
            "series": self.series,
            "volume_index": self.volume_index,
            "modality": self.modality,
            "truth": None if self.truth is None else str(self.truth),
            "recipe": self.recipe,
            "set": list(self.set),
            "bids": self.bids,
        }
        return {key: value for key, value in fields.items() if value not in (None, "", [])}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Row:
        """The row that :meth:`as_dict` gave."""
        paths = {key: Path(fields[key]) for key in ("input", "truth") if key in fields}
        return cls(**{**fields, **paths, "set": tuple(fields.get("set", ()))})

    @property
    def key(self) -> str:
        """Addresses the row in the index and in the folder of work; tells nothing of the scan."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]
