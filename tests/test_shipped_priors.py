"""The priors that come with medldm: whole, small, and better than smoothing on scans that they never saw."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medldm.data import Grid, ReadRequest, Volume
from medldm.errors import ComponentMissing
from medldm.host import load_host
from medldm.host.shipped import shipped
from medldm.inference import Noise
from medldm.pipeline.chosen_prior import choose_prior
from medldm.pipeline.reading import read_image
from medldm.pipeline.recipe import load_recipe
from medldm.priors.card_file import FILE, read_card
from medldm.priors.catalogue import open_prior
from medldm.priors.intensity import model_map
from medldm.testing.checks import check_prior

FOLDERS = sorted(path.parent for path in shipped("priors").glob(f"*/{FILE}"))
SAMPLES = {"MR": "brain-t2w.nii.gz", "CT": "chest-ct"}


def test_all_of_them_are_small_together() -> None:
    files = {path.resolve() for path in shipped("priors").rglob("*") if path.is_file()}
    assert sum(path.stat().st_size for path in files) <= 24 * 2**20


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_cards_say_where_they_come_from(folder: Path) -> None:
    card = read_card(folder)
    assert card.name == folder.name
    assert card.training.commands
    assert card.training.data
    assert all(source.licence and source.attribution for source in card.training.data)
    assert "research use only" in card.intended_use.lower()
    assert {"identity_error", "mean_error", "held_back"} <= set(card.quality)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_they_obey_the_laws_of_priors(folder: Path) -> None:
    failed = [row for row in check_prior(folder, load_host()) if row.status == "failed"]
    assert not failed, "\n".join(f"{row.law}: {row.message}" for row in failed)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_they_denoise_better_than_the_best_smoothing(folder: Path, sigma: float) -> None:
    """On a sample scan; smoothing is given the truth to choose its width by."""
    host, card = load_host(), read_card(folder)
    if card.latent is not None:
        pytest.skip("the noise of a latent prior is that of its latents")
    modality = card.modality
    scan = read_image(host, shipped("sample_data") / SAMPLES[modality], ReadRequest(modality=modality)).cropped(
        slice(16, 20)
    )
    truth = model_map(card.intensity, scan.data, scan.quantity)(scan.data)
    noisy = truth + sigma * Noise(5).normal(tuple(truth.shape), torch.float32, "test")
    prior = open_prior(folder, host).on(scan.grid)
    with torch.no_grad():
        denoised = prior.denoise(noisy[None], torch.tensor([sigma]))[0]
    smoothed = max(_decibel(_smoothed(noisy, width), truth) for width in (0.5, 0.7, 0.9, 1.2, 1.6, 2.2, 3.0))
    ours = _decibel(denoised, truth)
    assert ours > smoothed + 1.5


def _decibel(estimate: Tensor, truth: Tensor) -> float:
    return -10 * math.log10(float((estimate - truth).square().mean()))


def _smoothed(image: Tensor, width: float) -> Tensor:
    radius = math.ceil(3 * width)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / width) ** 2)
    taps = taps / taps.sum()
    padded = functional.pad(image[:, None], (radius,) * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(padded, taps[None, None, :, None]), taps[None, None, None, :])[:, 0]


@pytest.mark.parametrize(
    ("prior", "solver"),
    [("brain-mr-2d-pixel", "latent-zdds"), ("brain-mr-2d-pixel", "psld"), ("brain-mr-2d-latent", "dps")],
)
def test_latents_are_no_images_and_that_is_said_before_anything_is_measured(prior: str, solver: str) -> None:
    scan = Volume(torch.rand(2, 32, 32), Grid.isotropic((2, 32, 32)), "arbitrary", "MR", "scan")
    chosen = load_recipe("mri-4x", [f"prior.name={prior}", f"solver={{name: {solver}}}"])
    with pytest.raises(ComponentMissing, match=f"E-RUN-20.*{solver}.*{prior}"):
        choose_prior(load_host(), chosen, scan)
