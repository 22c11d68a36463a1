"""What a scan is, by its format or else by its rule, and its values in the unit that the intensities are meant in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medldm.data import Acquisition, Quantity, ReadRequest, Volume
from medldm.errors import UsageError
from medldm.host import Host
from medldm.pipeline.reading import read_cases
from medldm.priors.fit import conversion
from medldm.training.config import ScanRule


def read_by_rule(
    host: Host, path: Path, relative: str, rule: ScanRule, units: Mapping[str, Quantity]
) -> list[Volume | Acquisition]:
    """The cases of a path, images of the rule's modality and in its unit.

    Args:
        host: whose readers are used.
        path: of the scan.
        relative: the same, for messages.
        rule: that matches it.
        units: of the modalities; those that are not named stay as they are read.

    Raises:
        UsageError: ``E-TRN-08`` the scan says that it is of another modality than the rule, ``E-TRN-09`` its unit
            cannot be turned into that of the card.
        MedldmError: what a reader refuses.
    """
    cases = read_cases(host, path, ReadRequest())
    if rule.modality == "CT" and any(case.modality == "OT" for case in cases):
        # Taken at the rule's word, which for CT brings a unit and a reader's checks of it.
        cases = read_cases(host, path, ReadRequest(modality=rule.modality))
    return [_as_ruled(case, relative, rule, units) if isinstance(case, Volume) else case for case in cases]


def _as_ruled(image: Volume, relative: str, rule: ScanRule, units: Mapping[str, Quantity]) -> Volume:
    if image.modality not in ("OT", rule.modality):
        raise UsageError(
            "E-TRN-08",
            f"{relative} is {image.modality}, and the rule for {rule.match!r} says {rule.modality}.",
            why="It would be learnt as something that it is not.",
            fix=f"Add a rule for {image.modality} before it under data.rules, or name such scans in data.leave_out.",
        )
    wanted = units.get(rule.modality, image.quantity)
    if wanted == image.quantity:
        return image
    intensity = conversion(image.quantity, wanted)
    if intensity is None:
        raise UsageError(
            "E-TRN-09",
            f"{relative} holds values in {image.quantity}, and the card for {rule.modality} is of {wanted}.",
            why="Between the two there is no fixed conversion.",
            fix="Correct card.quantity with card.intensity and data.intensity, or data.rules.",
        )
    return replace(image, data=intensity(image.data), quantity=wanted)
