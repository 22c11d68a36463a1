"""What a writer says about the making of an image."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

RESEARCH_ONLY = "RESEARCH USE ONLY - not for diagnosis"
FAILED = "FAILED its quality check: does not explain its measurement"
GENERATIVE = "generative reconstruction, may contain structures not present in the patient"

Role = Literal[
    "reconstruction",
    "baseline",
    "simulated-input",
    "deviation",
    "sample",
    "spread",
    "interval-lower",
    "interval-upper",
    "prior-share",
]


@dataclass(frozen=True)
class Provenance:
    """Facts a written image carries. Times are passed in so that writing is deterministic.

    Attributes:
        role: what this image is in its run.
        method: one line, e.g. ``"tv (iterations 200) on ct-parallel, 60 views"``.
        version: version of medldm.
        recipe_hash: sha256 of the resolved recipe.
        weights_hash: sha256 of the prior's weights, empty without a prior.
        seed: of the run.
        simulated: the measurement was computed from an image; the word SIMULATED must be written.
        generative: a learned prior took part.
        created: time of the run.
        failed: a check of the run failed; the image does not fit its measurement, and says so.
        scan: sha256 of what was read for the run, values and what they state; all images of a run have the same, and
            two volumes of one file do not. Empty where the image comes of no run.
    """

    role: Role
    method: str
    version: str
    recipe_hash: str
    seed: int
    created: datetime
    simulated: bool
    weights_hash: str = ""
    generative: bool = False
    failed: bool = False
    scan: str = ""

    @property
    def comment(self) -> str:
        """The sentence that stands in every image."""
        parts = [RESEARCH_ONLY]
        if self.simulated:
            parts.append("SIMULATED measurement")
        if self.generative:
            parts.append(GENERATIVE)
        if self.failed:
            parts.append(FAILED)
        return "; ".join(parts)

    @property
    def title(self) -> str:
        """Short series description, at most 64 characters (DICOM LO)."""
        words = ["medldm", self.role]
        if self.simulated:
            words.append("SIMULATED")
        if self.failed:
            words.append("FAILED")
        return " ".join([*words, "RESEARCH ONLY"])[:64]
