"""``manifest.json``, in the folder of every finished result: the truth about what is done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medldm.batch.bids_dataset import place_images
from medldm.batch.row import Row
from medldm.batch.workplace import Workplace
from medldm.errors import UsageError

SCHEMA = "medldm-manifest/1"
NAME = "manifest.json"


def read_manifest_of(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished result; None where there is none."""
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("schema") == SCHEMA else None


def manifests(place: Workplace) -> Iterator[tuple[str, dict[str, Any]]]:
    """All finished results: name and manifest."""
    root = place.record_folder(".")
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        if NAME in names:
            folders.clear()  # no result lies inside another
            found = read_manifest_of(Path(folder))
            if found is not None:
                yield Path(folder).relative_to(root).as_posix(), found


def commit(made: Path, place: Workplace, name: str, row: Row, facts: Mapping[str, Any], *, overwrite: bool) -> str:
    """Put a finished result into its place; a kill at any moment leaves the old state or the new one.

    Args:
        made: folder that the reconstruction wrote, on the same disk.
        place: where results go.
        name: of the result.
        row: that it is of.
        facts: what its manifest says besides the files.
        overwrite: whether a result of that name may be replaced.

    Returns:
        sha256 of the manifest.

    Raises:
        UsageError: E-BAT-08 the place is taken.
    """
    target = place.record_folder(name)
    if occupied(target) and not (overwrite and read_manifest_of(target)):
        raise taken(name, ours=read_manifest_of(target) is not None)
    outside = place_images(made, place.out, name, row.bids) if place.bids else {}
    record = made / "run.json"
    inside = {file: digest for file, digest in _files(record).items() if (made / file).is_file()}
    inside = {os.path.relpath(target / file, place.out): digest for file, digest in inside.items()}
    inside[os.path.relpath(target / "run.json", place.out)] = _sha256(record)
    content = {"schema": SCHEMA, **facts, "files": {**outside, **inside}}
    text = json.dumps(content, indent=2) + "\n"
    (made / NAME).write_text(text, encoding="utf-8")
    for file in made.rglob("*"):
        _flush(file)
    _flush(made)
    target.parent.mkdir(parents=True, exist_ok=True)
    old = made.with_name("replaced")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    made.rename(target)
    _flush(target.parent)
    shutil.rmtree(old, ignore_errors=True)
    return hashlib.sha256(text.encode()).hexdigest()


def occupied(folder: Path) -> bool:
    """Whether something lies at a path; an empty folder is nothing."""
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def taken(name: str, *, ours: bool) -> UsageError:
    """The refusal where something else has the name of a result."""
    return UsageError(
        "E-BAT-08",
        f"The output {name} is there already, of another scan, recipe, prior or version."
        if ours
        else f"The output {name} holds files that no batch wrote.",
        why="Results are never overwritten in silence." if ours else "They are never deleted.",
        fix="Choose another output folder, or add --overwrite." if ours else "Choose another output folder.",
    )


def damaged(place: Workplace, manifest: Mapping[str, Any]) -> list[str]:
    """Files of a finished result that are missing or not as they were written."""
    bad = []
    for file, digest in manifest["files"].items():
        try:
            whole = _sha256(place.out / file) == digest
        except OSError:
            whole = False
        if not whole:
            bad.append(file)
    return bad


def _files(record: Path) -> dict[str, str]:
    return dict(json.loads(record.read_text(encoding="utf-8"))["files"])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
