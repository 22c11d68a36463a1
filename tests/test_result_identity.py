"""The DICOM series of runs: one study a scan, one series an image, none taken for another."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from pacs_commands import run
from prior_toys import DEVIATION, MEAN, card, toy_host, write

import medldm
from medldm.data import Grid, Volume
from medldm.pipeline.recipe import from_mapping

RECIPE = """
acquisition: {physics: identity, noise: {std: 5.0, of: absolute}}
solver: {name: cgls, iterations: 2}
outputs: {write: [dicom], report: false}
"""


def _first(folder: Path) -> pydicom.Dataset:
    return pydicom.dcmread(folder / "0001.dcm")


def test_time_points_of_one_file_do_not_replace_one_another(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(100, 900, (8, 8, 3, 2)).astype(np.int16)
    image = nib.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "times.nii.gz")
    (tmp_path / "r.yaml").write_text(RECIPE)
    words = (tmp_path / "times.nii.gz", "--simulate", "-r", tmp_path / "r.yaml", "--modality", "MR", "-q")
    for name, index in (("first", 0), ("second", 1), ("first again", 0)):
        code, said = run("reconstruct", *words, "--volume-index", index, "-o", tmp_path / name)
        assert code == 0, said
    first, second, again = (_first(tmp_path / name / "reconstruction") for name in ("first", "second", "first again"))
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert (first.SeriesInstanceUID, first.SOPInstanceUID) == (again.SeriesInstanceUID, again.SOPInstanceUID)


def test_a_run_on_an_array_gives_one_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLDM_PRIORS", str(tmp_path / "priors"))
    write(tmp_path / "priors", card())
    model = MEAN + DEVIATION * torch.randn(3, 10, 12, generator=torch.Generator().manual_seed(11))
    scan = Volume(-1000 + 2000 * model, Grid.isotropic((3, 10, 12), (3, 1, 1)), "HU", "CT", "draw")
    solver = {"name": "split-gibbs", "steps": 3, "hold": 0, "inner": 2, "sigma_max": 0.3, "sigma_min": 0.004}
    recipe = from_mapping(
        "test",
        {
            "acquisition": {"physics": "toy-attenuation"},
            "prior": {"name": "toy-prior"},
            "solver": solver,
            "run": {"seed": 7, "samples": 2},
            "outputs": {"write": ["dicom"], "report": False},
        },
    )
    medldm.reconstruct(scan, tmp_path / "out", recipe=recipe, simulate=True, host=toy_host(), device="cpu")
    images = [_first(folder) for folder in sorted((tmp_path / "out").iterdir()) if folder.is_dir()]
    assert len(images) == 5, "the reconstruction, spread, lower, upper, prior-share"
    for shared in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({image[shared].value for image in images}) == 1, shared
    assert len({image.SeriesInstanceUID for image in images}) == 5
