"""A BIDS data set as rows, and results named as BIDS derivatives."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import medldm
from medldm.aside import whole_file
from medldm.batch.found import Found, included
from medldm.batch.output_name import RECORDS, STATE
from medldm.batch.row import Row
from medldm.data.volume import Modality
from medldm.errors import UsageError

BIDS_VERSION = "1.10.0"
_DESCRIPTION = "dataset_description.json"
_HOME = "https://github.com/medldm/medldm"
# Data types with one volume a file, and what their scans are.
_MODALITIES: Mapping[str, Modality] = {"anat": "MR", "ct": "CT"}
_FILE = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)_(?P<suffix>[A-Za-z0-9]+)\.nii(?:\.gz)?")
_NO_IMAGES = {"mask", "dseg", "probseg", "defacemask"}
# What a result is called in its `desc` entity.
_DESC = {"": "medldm", "spread": "std", "prior-share": "priorshare"}


def is_dataset(folder: Path) -> bool:
    """Whether a folder is a BIDS data set of raw data."""
    return (folder / _DESCRIPTION).is_file() and _description(folder).get("DatasetType", "raw") == "raw"


def _description(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            "E-BAT-17", f"{folder / _DESCRIPTION} is not readable JSON.", fix="Repair it: medldm takes it for BIDS."
        ) from error
    return content if isinstance(content, dict) else {}


def scan_dataset(root: Path, include: Sequence[str] = ()) -> Found:
    """The images under ``sub-*/[ses-*/]{anat,ct}/``, or those that match ``include``; masks are none."""
    rows = []
    others = 0
    for subject in sorted(root.glob("sub-*")):
        for file in sorted(subject.rglob("*.nii*")):
            relative = file.relative_to(root)
            match = _FILE.fullmatch(file.name)
            kind = file.parent.name
            if match is None or kind not in _MODALITIES or match["suffix"] in _NO_IMAGES or not file.is_file():
                continue
            if not included(relative, include):
                others += 1
                continue
            name = str(relative.with_name(file.name.split(".")[0]))
            rows.append(Row(file.absolute(), name, modality=_MODALITIES[kind], bids=str(relative)))
    return Found(rows, not_included=others)


def describe_derivatives(source: Path, out: Path) -> None:
    """Write what makes ``out`` a BIDS derivative data set; left alone where it is there."""
    raw = _description(source)
    origin = {key: raw[name] for key, name in (("DOI", "DatasetDOI"), ("Version", "DatasetVersion")) if name in raw}
    content = {
        "Name": f"medldm reconstructions of {raw.get('Name', 'a data set')}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "medldm", "Version": medldm.__version__, "CodeURL": _HOME}],
        "SourceDatasets": [{"URL": source.resolve().as_uri(), **origin}],
        "DatasetLinks": {"raw": source.resolve().as_uri()},
    }
    for name, text in (
        (_DESCRIPTION, json.dumps(content, indent=2) + "\n"),
        (".bidsignore", f"{RECORDS}/\n{STATE}/\nindex.html\n"),
    ):
        target = out / name
        if not target.exists():
            with whole_file(target) as aside:
                aside.write_text(text, encoding="utf-8")


def derivative(name: str, file: str) -> str | None:
    """Where an image of a result goes, relative to the data set; None for what is no image.

    ``reconstruction-spread.nii.gz`` of ``sub-1/anat/sub-1_T1w`` is ``sub-1/anat/sub-1_desc-std_T1w.nii.gz``.
    """
    match = re.fullmatch(r"reconstruction(?:-(?P<map>[a-z-]+))?(?P<ending>\.nii\.gz|\.json)", file)
    if match is None:
        return None
    folder, _, stem = name.rpartition("/")
    entities, _, suffix = stem.rpartition("_")
    entities = re.sub(r"_desc-[A-Za-z0-9]+", "", entities)
    kind = match["map"] or ""
    desc = _DESC.get(kind, kind.replace("-", ""))
    return f"{folder}/{entities}_desc-{desc}_{suffix}{match['ending']}"


def place_images(made: Path, out: Path, name: str, source: str) -> dict[str, str]:
    """Move the images of a finished result to their names in the data set, each by a rename.

    Args:
        made: folder of the result; its ``run.json`` is corrected to the new names.
        out: the derivative data set.
        name: of the result.
        source: the input's path in its data set.

    Returns:
        Path below ``out`` -> sha256 of each.
    """
    record = json.loads((made / "run.json").read_text(encoding="utf-8"))
    placed = {}
    files = {}
    for file, digest in record["files"].items():
        target = derivative(name, file)
        if target is None:
            files[file] = digest
            continue
        here, final = made / file, digest
        if file.endswith(".json"):
            sidecar = json.loads(here.read_text(encoding="utf-8"))
            here.write_text(json.dumps({"Sources": [f"bids:raw:{source}"], **sidecar}, indent=2) + "\n", "utf-8")
            final = hashlib.sha256(here.read_bytes()).hexdigest()
        (out / target).parent.mkdir(parents=True, exist_ok=True)
        _flush(here)
        here.replace(out / target)
        placed[target] = final
        files[os.path.relpath(out / target, out / RECORDS / name)] = final
    record["files"] = files
    (made / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return placed


def _flush(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
