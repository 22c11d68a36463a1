"""The files of a finished run: images through the writers, preview and record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import torch

import medldm
from medldm.data import Acquisition, ChecksBeforehand, Provenance, Quantity, Volume, Writer
from medldm.errors import UsageError
from medldm.host import Host
from medldm.pipeline.maps import Map
from medldm.pipeline.output import OutputFolder
from medldm.pipeline.pictures import PICTURES, pictures_of, save_pictures
from medldm.pipeline.preview import save_preview
from medldm.pipeline.recipe import Recipe

# Fills files into a folder of results and returns them: called with the folder and its record.
Page = Callable[[Path, Mapping[str, Any]], list[Path]]


def write_results(
    host: Host,
    folder: OutputFolder,
    recipe: Recipe,
    record: Mapping[str, Any],
    image: Volume,
    baseline: Volume,
    truth: Volume | None,
    maps: Mapping[str, Map],
    pages: Sequence[Page] = (),
) -> list[Path]:
    """Write images, ``preview.png``, what a report shows, and, last, ``run.json`` with the hash of every file.

    Args:
        host: whose writers the recipe names.
        folder: appears whole or not at all.
        recipe: ``outputs.write`` names the writers; NIfTI by default.
        record: from :func:`medldm.pipeline.record.run_record`.
        image: the reconstruction.
        baseline: the start image.
        truth: for the preview; None without one.
        maps: of uncertainty, written as ``reconstruction-spread`` and so on.
        pages: made of the files so far, such as a report; none where ``outputs.report`` is false.
    """
    writers = writers_of(host, recipe)
    made = provenance(record, recipe)

    def write(aside: Path) -> list[Path]:
        files = []
        for writer in writers:
            files += writer.write(image, aside, "reconstruction", made)
            for name, found in maps.items():
                told = replace(made, role=found.role, method=f"{found.meaning}; {made.method}")
                files += writer.write(found.volume, aside, f"reconstruction-{name}", told)
        files.append(save_preview(aside / "preview.png", image, baseline, truth, record, maps))
        if recipe.outputs.get("report", True):
            files.append(save_pictures(aside / PICTURES, pictures_of(image, baseline, truth, maps)))
            for page in pages:
                files += page(aside, record)
        hashes = {str(file.relative_to(aside)): _sha256(file) for file in files}
        target = aside / "run.json"
        text = json.dumps({**record, "files": hashes}, indent=2, allow_nan=False)
        target.write_text(text + "\n", encoding="utf-8")
        return [*files, target]

    return folder.fill(write)


def writers_of(host: Host, recipe: Recipe) -> list[Writer]:
    """The writers that a recipe names; NIfTI by default.

    Raises:
        UsageError: ``E-RCP-08`` it names none, or one twice, ``E-PLG-08`` there is none of a name.
    """
    names = recipe.outputs.get("write", ["nifti"])
    if not isinstance(names, list) or not names:
        raise UsageError("E-RCP-08", f"outputs.write is {names!r}.", fix="For example: outputs.write=[nifti, dicom]")
    if len(set(map(str, names))) < len(names):
        raise UsageError(
            "E-RCP-08",
            f"outputs.write is {names!r}, which names a writer twice.",
            why="The second would write the files of the first again, and a writer overwrites nothing.",
            fix="Name each writer once, for example: outputs.write=[nifti, dicom]",
        )
    return [cast(Writer, host.build("writers", str(name), {}, where="outputs.write")) for name in names]


def require_writable(host: Host, recipe: Recipe, case: Volume | Acquisition) -> None:
    """Refuse a run whose image a writer of its recipe could not write, before the image is made.

    Raises:
        UsageError: see :func:`writers_of`.
        InputRefused: what the writer says of such images.
    """
    unit: Quantity = case.quantity
    # A measurement says how its image is brought to HU; a simulated one gives the unit of the image that was scanned.
    if isinstance(case, Acquisition) and case.output.target == "HU":
        unit = "HU"
    empty = torch.zeros(()).expand(case.grid.shape)
    to_come = Volume(empty, case.grid, unit, case.modality, name=case.name, source=case.source)
    for writer in writers_of(host, recipe):
        if isinstance(writer, ChecksBeforehand):
            writer.require_writable(to_come)


def provenance(record: Mapping[str, Any], recipe: Recipe) -> Provenance:
    """What the writers say about the reconstruction of a run."""
    options = ", ".join(f"{key} {value}" for key, value in recipe.solver_options().items())
    method = f"{recipe.solver['name']} ({options})" if options else str(recipe.solver["name"])
    prior = record.get("prior", {})
    if prior:
        method = f"{method} with the prior {prior['name']}"
        share = float(prior.get("trial", {}).get("classical_share", 0))
        if share:
            method = f"{method}, {share:.0%} of it {recipe.classical['name']},"
    return Provenance(
        role="reconstruction",
        method=f"{method} on {recipe.physics}",
        version=medldm.__version__,
        recipe_hash=recipe.sha256,
        seed=recipe.seed,
        created=datetime.fromisoformat(str(record["created"])),
        simulated=bool(record["simulated"]),
        weights_hash=str(prior.get("weights_hash", "")),
        generative=bool(record["generative"]),
        failed=bool(record["gates_failed"]),
        scan=hashlib.sha256(f"{record['job']['case']} {record['job']['stated']}".encode()).hexdigest(),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
