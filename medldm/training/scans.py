"""The training scans: read once, brought to model values, kept small."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from medldm.data import Quantity, Volume
from medldm.errors import InputRefused, MedldmError, UsageError
from medldm.host import Host
from medldm.pipeline.reading import reader_for
from medldm.priors.intensity import model_map
from medldm.priors.planes import pose_of
from medldm.training.config import DataOptions, PatchOptions, ScanRule
from medldm.training.pack_file import read_pack
from medldm.training.scan_kind import read_by_rule
from medldm.training.subject import subject_of
from medldm.training.training_scan import TrainingScan, is_held_back


def read_scans(
    host: Host,
    folders: Sequence[Path],
    options: DataOptions,
    tell: Callable[[str], None],
    patches: PatchOptions | None = None,
    units: Mapping[str, Quantity] | None = None,
) -> list[TrainingScan]:
    """All scans below the folders.

    Args:
        host: whose readers are used.
        folders: with scans at any depth, or packed files (``medldm train pack``).
        options: which scan is what.
        tell: receives a line for each scan that was left out, and a summary.
        patches: of the configuration, which a packed file must have been made for.
        units: modality -> the unit of its intensities; those that are not named are as they are read.

    Raises:
        UsageError: ``E-TRN-01`` no scan, ``E-TRN-02`` all or no subjects are held back, ``E-TRN-03`` no rule matches,
            ``E-TRN-05`` a modality without intensities, ``E-TRN-06`` a rule's expression is none, ``E-TRN-08`` and
            ``E-TRN-09`` a scan is of another modality or unit than its rule and card say, ``E-TRN-40`` and
            ``E-TRN-41`` a packed file cannot be used.
    """
    _require_expressions(options)
    scans: list[TrainingScan] = []
    for folder in folders:
        if folder.is_file():
            scans += read_pack(folder, options, patches or PatchOptions())
            continue
        if not folder.is_dir():
            raise UsageError("E-TRN-01", f"There is no folder {folder}.", fix="Give the folder of the scans.")
        for path in _scan_paths(host, folder):
            relative = path.relative_to(folder).as_posix() if path != folder else folder.resolve().name
            if not any(fnmatch.fnmatch(relative, pattern) for pattern in options.leave_out):
                scans += _read(host, path, relative, options, tell, units or {})
    if not scans:
        raise UsageError("E-TRN-01", "There is no scan in the folders given.", fix="medldm inspect FOLDER looks there.")
    scans = _with_share_held_back(scans, options.held_back_share)
    held = {scan.subject for scan in scans if scan.held_back}
    trained = {scan.subject for scan in scans if not scan.held_back}
    if not held or not trained:
        raise UsageError(
            "E-TRN-02",
            f"{'No' if not held else 'Every'} subject is held back.",
            why="Some subjects must be trained on, and others tell when it has learnt enough.",
            fix=f"Correct data.held_back or data.held_back_share; the subjects are {_listed(held | trained)}. Where "
            "these are not people, 'subject' of a rule under data.rules names them by a part of the path.",
        )
    tell(f"{len(scans)} scans: {len(trained)} subjects to train on, {len(held)} held back")
    return scans


def _listed(subjects: set[str]) -> str:
    return ", ".join(sorted(subjects)[:12]) + (", ..." if len(subjects) > 12 else "")


def _require_expressions(options: DataOptions) -> None:
    for rule in options.rules:
        try:
            re.compile(rule.subject)
        except re.error as error:
            raise UsageError(
                "E-TRN-06",
                f"The subject {rule.subject!r} of the rule for {rule.match!r} is no regular expression: {error}.",
                fix="Correct data.rules; for example subject: '(p[0-9]+)'.",
            ) from error


def _read(
    host: Host,
    path: Path,
    relative: str,
    options: DataOptions,
    tell: Callable[[str], None],
    units: Mapping[str, Quantity],
) -> list[TrainingScan]:
    rule = next((r for r in options.rules if fnmatch.fnmatch(relative, r.match)), None)
    if rule is None:
        raise UsageError(
            "E-TRN-03",
            f"No rule of the configuration matches {relative}.",
            why="A scan of unknown kind would be learnt as something that it is not.",
            fix="Add a rule under data.rules of a copy of the configuration, and name the copy by --config; "
            f"its rules are for {', '.join(one.match for one in options.rules[:6])}{_more(options)}.",
        )
    try:
        cases = read_by_rule(host, path, relative, rule, units)
        images = [case for case in cases if isinstance(case, Volume)]
        if len(images) < len(cases):
            tell(f"left out {relative}: a measurement, and images are trained on")
        subject = subject_of(relative, rule.subject, folder=path.is_dir())
        return [_scan(image, subject, rule, options) for image in images]
    except UsageError:
        raise
    except MedldmError as error:
        tell(f"left out {relative}: {error.code} {error.what}")
        return []


def _more(options: DataOptions) -> str:
    more = len(options.rules) - 6
    return f" and {more} more" if more > 0 else ""


def _with_share_held_back(scans: Sequence[TrainingScan], share: float) -> list[TrainingScan]:
    """The subjects whose hashed names come first, so that a new subject moves at most one other between the sides."""
    subjects = {scan.subject for scan in scans if not scan.held_back}
    if share == 0 or len(subjects) < 2:
        return list(scans)
    order = sorted(subjects, key=lambda subject: hashlib.sha256(subject.encode()).hexdigest())
    chosen = set(order[: max(1, round(share * len(order)))])
    return [replace(scan, held_back=True) if scan.subject in chosen else scan for scan in scans]


def _scan_paths(host: Host, folder: Path) -> list[Path]:
    """Files that a reader takes, and folders that are one scan (a DICOM series)."""
    if any(_is_dicom(path) for path in folder.iterdir()):
        return [folder]
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            found += _scan_paths(host, path)
            continue
        try:
            reader_for(host, path)
        except InputRefused:
            continue
        found.append(path)
    return found


def _is_dicom(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    # Files without a suffix, or with numbers for one, are DICOM or something else, such as a licence.
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _scan(volume: Volume, subject: str, rule: ScanRule, options: DataOptions) -> TrainingScan:
    if rule.modality not in options.intensity:
        raise UsageError(
            "E-TRN-05",
            f"The configuration has no data.intensity for {rule.modality}.",
            fix=f"Add data.intensity.{rule.modality}, as in the card.",
        )
    image = volume.data.abs() if volume.data.is_complex() else volume.data
    pose = pose_of(volume.grid)
    data = model_map(options.intensity[rule.modality], image, volume.quantity)(image).half()
    if not bool(torch.isfinite(data).all()):
        raise InputRefused(
            "E-TRN-07",
            f"Values from {float(image.min()):.4g} to {float(image.max()):.4g} {volume.quantity} lie too far out.",
            why="In model values some of them are no numbers in half precision, in which scans are kept.",
            fix="Replace what pads the scan by a value that air has.",
        )
    z, y, x = (volume.grid.spacing[axis] for axis in pose.order)
    return TrainingScan(
        data=data.permute(pose.order).flip(pose.mirrored).contiguous(),
        planes=("axial", "coronal", "sagittal"),
        spacing=(z, y, x),
        facts=rule.facts,
        is_mr=rule.modality == "MR",
        subject=subject,
        weight=rule.weight,
        held_back=is_held_back(subject, options),
    )
