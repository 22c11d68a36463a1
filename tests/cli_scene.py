"""A small brain, a recipe that takes no time, and the command line called in this process."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from medldm.cli.app import app

RECIPE = """
acquisition: {physics: identity, noise: {std: 0.5, of: absolute}}
solver: {name: cgls, iterations: 3}
run: {seed: 7}
"""


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(RECIPE)
    return file


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (6, 20, 17)), indexing="ij")
    data = (100 * (z**2 + (1.3 * y) ** 2 + (1.1 * x) ** 2 < 0.8)).astype(np.float32).T
    path = tmp_path / "brain.nii.gz"
    nib.save(nib.Nifti1Image(data, np.diag([0.9, 1.1, 3.0, 1.0])), path)
    return path
