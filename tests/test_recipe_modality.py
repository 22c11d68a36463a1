"""A recipe for another modality than the scan's: it is what is to be changed, and those that fit are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from batch_scene import run as run_batch
from cli_scene import brain, run

import medldm
from medldm.data import Grid, Volume
from medldm.errors import ComponentMissing, InputRefused
from medldm.host import Host
from medldm.pipeline.acquisition_output import save_acquisition
from medldm.pipeline.recipe import load_recipe

__all__ = ["brain"]  # a fixture

GRID = Grid.isotropic((2, 32, 32), (3, 2, 2))
CT = Volume(torch.zeros(GRID.shape), GRID, "HU", "CT", "chest")
MR = Volume(torch.ones(GRID.shape), GRID, "arbitrary", "MR", "head")
WAYS: tuple[tuple[str, ...], ...] = ((), ("--dry-run",), ("--classical",))


@pytest.fixture
def sinogram(host: Host, tmp_path: Path) -> Path:
    measured = medldm.simulate(CT, recipe="ct-60-views", host=host)
    return save_acquisition(host, measured, tmp_path / "scans" / "sinogram.acq.safetensors")


@pytest.fixture
def kspace(host: Host, tmp_path: Path) -> Path:
    measured = medldm.simulate(MR, recipe="mri-4x", host=host)
    return save_acquisition(host, measured, tmp_path / "scans" / "kspace.acq.safetensors")


@pytest.mark.parametrize("more", WAYS)
def test_a_sinogram_and_the_recipe_of_k_space(sinogram: Path, more: tuple[str, ...], tmp_path: Path) -> None:
    code, _, text = run("reconstruct", sinogram, "-o", tmp_path / "out", *more)
    assert (code, "error E-RUN-03" in text) == (2, True), text
    assert "ct-60-views" in text and "prior" not in text


@pytest.mark.parametrize("more", WAYS)
def test_k_space_and_the_recipe_of_sinograms(kspace: Path, more: tuple[str, ...], tmp_path: Path) -> None:
    code, _, text = run("reconstruct", kspace, "-r", "ct-60-views", "-o", tmp_path / "out", *more)
    assert (code, "error E-RUN-03" in text) == (2, True), text
    assert "mri-4x or mri-8x" in text and "prior" not in text


def test_a_batch_refuses_the_same(sinogram: Path, tmp_path: Path) -> None:
    (line,) = run_batch(sinogram.parent, tmp_path / "out", "mri-4x", simulate=False)
    assert (line.state, line.code) == ("failed", "E-RUN-03")


@pytest.mark.parametrize(
    ("image", "recipe", "fitting", "others"),
    [(CT, "mri-4x", "ct-20-views or ct-60-views", "mri-8x"), (MR, "ct-60-views", "mri-4x or mri-8x", "ct-20-views")],
)
def test_an_image_of_another_modality(image: Volume, recipe: str, fitting: str, others: str, host: Host) -> None:
    with pytest.raises(ComponentMissing, match="E-PRI-30") as refusal:
        medldm.reconstruct(image, recipe=recipe, simulate=True, host=host)
    assert f"Choose a recipe for {image.modality}: --recipe" in refusal.value.fix
    assert fitting in refusal.value.fix
    assert others not in refusal.value.fix
    assert "--modality" not in str(refusal.value)
    with pytest.raises(InputRefused, match="Choose a recipe of its modality"):
        medldm.reconstruct(image, recipe=load_recipe(recipe, classical=True), simulate=True, host=host)


def test_an_image_of_a_modality_that_nobody_states(brain: Path, tmp_path: Path) -> None:
    words = ("reconstruct", brain, "--simulate", "-r", "ct-60-views", "-o", tmp_path / "out")
    for more in ((), ("--dry-run",)):
        code, _, text = run(*words, *more)
        text = " ".join(text.split())
        assert (code, "error E-PRI-31" in text) == (4, True), text
        assert "If it is CT in HU, add --modality CT; if it is MR, choose a recipe for MR: --recipe" in text
        assert "mri-4x" in text


def test_a_prior_of_another_modality_under_a_recipe_that_fits(host: Host) -> None:
    with pytest.raises(ComponentMissing, match=r"E-PRI-30.*Choose a prior for CT\."):
        medldm.reconstruct(CT, recipe="ct-60-views", set_=["prior.name=brain-mr-2d-pixel"], simulate=True, host=host)
