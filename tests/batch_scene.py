"""Small scans, a BIDS data set, a recipe that takes no time, and a reconstruction that only writes, for batches."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medldm.batch import task
from medldm.batch.batch import Watchers, Workforce, run_batch
from medldm.batch.index import Scan
from medldm.batch.settings import Settings
from medldm.batch.source import find_source
from medldm.host import load_host

RECIPE = """
acquisition: {physics: identity, noise: {std: 0.05, of: absolute}}
solver: {name: cgls, iterations: 2}
"""


def make_scans(folder: Path, count: int = 3) -> Path:
    """``scan0.nii.gz`` and so on, each a slice longer than the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    for number in range(count):
        image = nib.Nifti1Image(rng.random((12, 10, 3 + number), dtype=np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
        nib.save(image, folder / f"scan{number}.nii.gz")
    return folder


def bids(root: Path) -> Path:
    """A raw data set of two people: an anatomical image of each, and a functional image and a mask, which are none."""
    make_scans(root / "made", 1)
    for name in ("sub-01/ses-a/anat/sub-01_ses-a_T1w", "sub-02/anat/sub-02_T2w", "sub-02/func/sub-02_task-x_bold"):
        target = root / "raw" / f"{name}.nii.gz"
        target.parent.mkdir(parents=True)
        shutil.copy(root / "made" / "scan0.nii.gz", target)
    (root / "raw" / "sub-02" / "anat" / "sub-02_mask.nii.gz").write_bytes(b"")
    (root / "raw" / "dataset_description.json").write_text('{"Name": "heads", "BIDSVersion": "1.8.0"}')
    return root / "raw"


def make_recipe(folder: Path) -> str:
    """Path of a recipe file."""
    path = folder / "tiny.yaml"
    path.write_text(RECIPE)
    return str(path)


Scene = tuple[Path, Path, str]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Folder of three scans, output folder, recipe."""
    return make_scans(tmp_path / "scans"), tmp_path / "out", make_recipe(tmp_path)


class Pretended:
    """Stands for :func:`medldm.pipeline.reconstruct.reconstruct`: writes a result at once, or does as told.

    Attributes:
        done: names of inputs, in the order in which they were begun.
        instead: input name -> called with all arguments before anything is written; may raise.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self.arguments: list[dict[str, Any]] = []
        self.instead: dict[str, Callable[..., None]] = {}

    def __call__(self, source: Path, out: Path, **arguments: Any) -> None:
        self.done.append(source.name)
        self.arguments.append(arguments)
        if source.name in self.instead:
            self.instead[source.name](source, out, **arguments)
        folder = out / "0123456789abcdef" if arguments["anonymous"] else out
        folder.mkdir(parents=True)
        image = folder / "reconstruction.nii.gz"
        image.write_bytes(b"image of " + source.read_bytes()[:64])
        sidecar = folder / "reconstruction.json"
        sidecar.write_text("{}")
        files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (image, sidecar)}
        (folder / "run.json").write_text(json.dumps({"files": files}))


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """The stand-in, in place."""
    stand_in = Pretended()
    monkeypatch.setattr(task, "reconstruct", stand_in)
    return stand_in


def run(
    source: Path, out: Path, recipe: str, *, retry: bool = False, say: Any = None, listeners: Any = (), **settings: Any
) -> list[Scan]:
    """A batch in this process."""
    host = load_host()
    chosen = Settings(**{"recipe": recipe, "simulate": True, "modality": "MR", "backoff": 0.0, **settings})
    found = find_source(host, source, skip_missing=True, anonymous=chosen.anonymous)
    watchers = Watchers(say) if say else Watchers()
    return run_batch(host, found, out, chosen, Workforce(listeners=listeners), watchers, retry=retry)


def states(scans: list[Scan]) -> list[str]:
    """Their states."""
    return [scan.state for scan in scans]
