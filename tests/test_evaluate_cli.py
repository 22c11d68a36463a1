"""``medldm evaluate``: which slices to name, and what a spread is called that is no interval."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from medldm.cli.app import app
from medldm.cli.tables import print_calibration
from medldm.data import Grid
from medldm.pipeline.reference import slices_of

SHAPE = (9, 16, 14)


def evaluate(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["evaluate", *(str(word) for word in words)])
    return result.exit_code, result.stdout, result.stderr


def image(path: Path, first: int = 0, last: int = SHAPE[0], aside: float = 0.0, noise: float = 0.0) -> Path:
    """Slices of a ball, oblique in the patient."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    data = 100.0 * (z**2 + y**2 + x**2 < 0.9) + noise * np.random.default_rng(3).standard_normal(SHAPE)
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.diag([0.9, 1.1, 3.3])
    affine = np.eye(4)
    affine[:3, :3] = turn
    affine[:3, 3] = np.array([-71.3, 22.7, 13.9]) + turn @ [aside, 0, first]
    nib.save(nib.Nifti1Image(data[first:last].T.astype(np.float32), affine), path)
    return path


def folder(path: Path, solver: str, exact: bool | None) -> Path:
    """The output of a run of four samples."""
    path.mkdir()
    image(path / "reconstruction.nii.gz", noise=2.0)
    image(path / "reconstruction-spread.nii.gz")
    told = {"samples": 4} if exact is None else {"samples": 4, "exact": exact}
    record = {"schema": "medldm-run/1", "recipe": {"solver": {"name": solver}}, "uncertainty": told, "files": {}}
    (path / "run.json").write_text(json.dumps(record))
    return path


def test_the_slices_of_the_truth_are_named(tmp_path: Path) -> None:
    truth, part = image(tmp_path / "truth.nii.gz"), image(tmp_path / "part.nii.gz", 3, 5, noise=1.0)
    code, _, text = evaluate(part, "--truth", truth)
    assert code == 3
    assert "E-EVAL-01" in text and "--slices 3:5" in text
    code, _, text = evaluate(part, "--truth", truth, "--slices", "4:6")
    assert code == 3
    assert "E-EVAL-02" in text and "--slices 3:5" in text
    assert evaluate(part, "--truth", truth, "--slices", "3:5")[0] == 0


def test_slices_too_many_are_named_too(tmp_path: Path) -> None:
    truth = image(tmp_path / "truth.nii.gz")
    code, _, text = evaluate(image(tmp_path / "all.nii.gz", noise=1.0), "--truth", truth, "--slices", "3:5")
    assert code == 3
    assert "leave out --slices" in text


def test_decibels_of_an_exact_match_are_infinite(tmp_path: Path) -> None:
    truth = image(tmp_path / "truth.nii.gz")
    code, text, errors = evaluate(truth, "--truth", truth, "--modality", "MR", "--json")
    assert code == 0, errors

    def refused(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    found = json.loads(text, parse_constant=refused)
    assert found["psnr"] == found["psnr_axial"] == "inf" and found["nrmse"] == 0
    assert re.search(r"psnr +│ +inf", evaluate(truth, "--truth", truth, "--modality", "MR")[1])


def test_slices_beside_the_truth_have_no_range(tmp_path: Path) -> None:
    truth = image(tmp_path / "truth.nii.gz")
    code, _, text = evaluate(image(tmp_path / "part.nii.gz", 3, 5, aside=0.5), "--truth", truth)
    assert code == 3
    assert "one grid" in text and "--slices A:B" in text


@pytest.mark.parametrize("scale", [1.0, 1e-3, 2e-5])
def test_slices_of_a_grid_however_fine(scale: float) -> None:
    fine = Grid.isotropic(SHAPE, (scale, scale, scale))
    assert slices_of(fine.cropped(slice(2, 4)), fine) == slice(2, 4)
    assert slices_of(Grid.isotropic((2, 16, 14), 1.1 * scale), fine) is None


def test_slices_of_a_grid() -> None:
    whole = Grid.isotropic(SHAPE, (3.0, 1.0, 1.0))
    assert slices_of(whole.cropped(slice(2, 9)), whole) == slice(2, 9)
    assert slices_of(whole, whole) == slice(0, 9)
    assert slices_of(whole, whole.cropped(slice(2, 9))) is None
    assert slices_of(Grid.isotropic((2, 16, 14), (3.0, 1.1, 1.0)), whole) is None


@pytest.mark.parametrize(
    ("solver", "recorded", "exact"),
    [
        ("zdds", False, False),
        ("zdds", None, False),
        ("split-gibbs", True, True),
        ("split-gibbs", None, True),
        ("of-nobody", True, True),
        ("of-nobody", None, None),
    ],
)
def test_it_tells_whether_the_samples_are_of_the_posterior(
    solver: str, recorded: bool | None, exact: bool | None, tmp_path: Path
) -> None:
    words = (folder(tmp_path / "out", solver, recorded), "--truth", image(tmp_path / "truth.nii.gz"))
    code, text, errors = evaluate(*words, "--json")
    assert code == 0, errors
    found = json.loads(text)["calibration"]
    assert (found["solver"], found["exact"]) == (solver, exact)
    told = " ".join(evaluate(*words)[1].split())
    wanted = {True: "draws from the posterior", False: "does not claim to draw", None: "is not known"}[exact]
    assert wanted in told
    assert ("no intervals" in told or "taken as interval" in told) is not bool(exact)


def test_a_spread_is_not_printed_as_an_interval() -> None:
    console = Console(width=80, color_system=None, file=io.StringIO())
    values = {"samples": 4, "voxels": 9, "coverage": {"0.8": 0.448}, "bins": [], "ratio": None}
    print_calibration(console, {**values, "solver": "zdds", "exact": False})
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "zdds does not claim to draw from the posterior" in text
    assert "taken as interval" in text and "44.8%" in text
