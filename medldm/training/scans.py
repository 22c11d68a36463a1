"""The training scans: read once, brought to model values, kept small."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from medldm.data import ReadRequest, Volume
from medldm.errors import InputRefused, MedldmError, UsageError
from medldm.host import Host
from medldm.pipeline.reading import read_cases, reader_for
from medldm.priors.intensity import model_map
from medldm.training.config import DataOptions, ScanRule

_PLANES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "L": "sagittal", "R": "sagittal"}


@dataclass(frozen=True, eq=False)
class TrainingScan:
    """One scan in model values.

    Attributes:
        data: (z, y, x) float16.
        planes: what a slice across each tensor axis is: ``axial``, ``coronal`` or ``sagittal``.
        spacing: mm along each tensor axis.
        facts: what the network is told of it.
        is_mr: whether its contrast may be changed.
        subject: who.
        weight: how often it is drawn.
        held_back: never trained on.
    """

    data: Tensor
    planes: tuple[str, str, str]
    spacing: tuple[float, float, float]
    facts: Mapping[str, str | float]
    is_mr: bool
    subject: str
    weight: float
    held_back: bool


def read_scans(
    host: Host, folders: Sequence[Path], options: DataOptions, tell: Callable[[str], None]
) -> list[TrainingScan]:
    """All scans below the folders.

    Args:
        host: whose readers are used.
        folders: with scans at any depth.
        options: which scan is what.
        tell: receives a line for each scan that was left out, and a summary.

    Raises:
        UsageError: ``E-TRN-01`` no scan, ``E-TRN-02`` all or no subjects are held back, ``E-TRN-03`` no rule matches.
    """
    scans: list[TrainingScan] = []
    for folder in folders:
        if not folder.is_dir():
            raise UsageError("E-TRN-01", f"There is no folder {folder}.", fix="Give the folder of the scans.")
        for path in _scan_paths(host, folder):
            relative = path.relative_to(folder).as_posix()
            if any(fnmatch.fnmatch(relative, pattern) for pattern in options.leave_out):
                continue
            rule = next((r for r in options.rules if fnmatch.fnmatch(relative, r.match)), None)
            if rule is None:
                raise UsageError(
                    "E-TRN-03",
                    f"No rule of the configuration matches {relative}.",
                    why="A scan of unknown kind would be learnt as something that it is not.",
                    fix="Add a rule under data.rules, or take the scan out of the folder.",
                )
            try:
                cases = read_cases(host, path, ReadRequest(modality=rule.modality))
            except MedldmError as error:
                tell(f"left out {relative}: {error.code} {error.what}")
                continue
            scans += [_scan(case, relative, rule, options) for case in cases if isinstance(case, Volume)]
    if not scans:
        raise UsageError("E-TRN-01", "There is no scan in the folders given.", fix="medldm inspect FOLDER looks there.")
    held = {scan.subject for scan in scans if scan.held_back}
    trained = {scan.subject for scan in scans if not scan.held_back}
    if not held or not trained:
        raise UsageError(
            "E-TRN-02",
            f"{'No' if not held else 'Every'} subject is held back.",
            why="Some subjects must be trained on, and others tell when it has learnt enough.",
            fix=f"Correct data.held_back; the subjects are {', '.join(sorted(held | trained)[:12])}, ...",
        )
    tell(f"{len(scans)} scans: {len(trained)} subjects to train on, {len(held)} held back")
    return scans


def _scan_paths(host: Host, folder: Path) -> list[Path]:
    """Files that a reader takes, and folders that are one scan (a DICOM series)."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            whole = any(child.is_file() and child.suffix.lower() in (".dcm", ".ima", "") for child in path.iterdir())
            found += [path] if whole else _scan_paths(host, path)
            continue
        try:
            reader_for(host, path)
        except InputRefused:
            continue
        found.append(path)
    return found


def _scan(volume: Volume, relative: str, rule: ScanRule, options: DataOptions) -> TrainingScan:
    if rule.modality not in options.intensity:
        raise UsageError(
            "E-TRN-05",
            f"The configuration has no data.intensity for {rule.modality}.",
            fix=f"Add data.intensity.{rule.modality}, as in the card.",
        )
    image = volume.data.abs() if volume.data.is_complex() else volume.data
    named = re.search(rule.subject, relative) if rule.subject else None
    subject = named.group(1) if named and named.groups() else Path(relative).name.partition(".")[0]
    planes = [_PLANES[letter] for letter in volume.grid.orientation]
    return TrainingScan(
        data=model_map(options.intensity[rule.modality], image, volume.quantity)(image).half(),
        planes=(planes[0], planes[1], planes[2]),
        spacing=(volume.grid.spacing[0], volume.grid.spacing[1], volume.grid.spacing[2]),
        facts=rule.facts,
        is_mr=rule.modality == "MR",
        subject=subject,
        weight=rule.weight,
        held_back=any(fnmatch.fnmatch(subject, pattern) for pattern in options.held_back),
    )
