"""What tests of ``medldm priors`` share: our command, a folder with a prior in it, and a pipeline to import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from typer.testing import CliRunner

from medldm.cli.app import app
from medldm.priors import catalogue
from medldm.priors.card import DataSource, Facts, Intensity, Prediction, PriorCard, Range, Size, Training
from medldm.priors.folder import write_prior
from medldm_slice_ldm.family import SliceDiffusion

CARD = PriorCard(
    name="toy",
    family="slice-diffusion",
    summary="A toy for [tests].",
    modality="MR",
    quantity="arbitrary",
    intensity=Intensity("percentile"),
    dimensions=2,
    spacing_mm=Range(0.5, 2.0),
    sigma=Range(0.02, 20.0),
    prediction=Prediction("edm"),
    networks={"denoiser": {"kind": "unet", "widths": [4, 8], "groups": 2, "facts": 2}},
    weights={},
    licence="CC0-1.0",
    anatomy="head",
    size=Size(4),
    facts=Facts({"contrast": ("t1w", "t2w")}),
    training=Training(
        (DataSource("thirty heads", "CC-BY-4.0", "Somebody et al. 2020"),),
        ("medldm train denoiser heads -o toy",),
        figures={"steps": 100, "loss": [0.1 * step for step in range(20)]},
    ),
    quality={"denoising_psnr": {"bound": 31.5, "on": "public volumes"}},
)
STATED = [
    *("--set", "modality=MR", "--set", "quantity=arbitrary", "--set", "intensity.rule=percentile"),
    *("--set", "card.spacing_mm={low: 0.8, high: 1.2}", "--set", "planes=[axial]", "--set", "licence=CC0-1.0"),
]


@pytest.fixture
def priors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in MEDLDM_PRIORS, with one prior in it; none is shipped."""
    torch.manual_seed(0)
    root = tmp_path / "priors"
    network = SliceDiffusion().build(CARD.networks).denoiser
    assert network is not None
    write_prior(root / "toy", CARD, {"denoiser": network.state_dict()})
    monkeypatch.setenv("MEDLDM_PRIORS", str(root))
    monkeypatch.setattr(catalogue, "shipped", lambda _: tmp_path / "none-shipped")
    monkeypatch.setenv("COLUMNS", "200")
    return root


@pytest.fixture(scope="module")
def ddpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small unconditional pipeline as diffusers saves it."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        block_out_channels=(4, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=2,
    )
    folder = tmp_path_factory.mktemp("foreign") / "ddpm"
    DDPMPipeline(unet, DDPMScheduler(clip_sample=False)).save_pretrained(folder, safe_serialization=True)
    return folder


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["priors", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def rows_of(*words: object, code: int = 0) -> list[dict[str, Any]]:
    found, out, _ = run(*words, "--json")
    assert found == code, out
    event = json.loads(out.splitlines()[0])
    assert set(event) == {"event", "rows"}
    rows: list[dict[str, Any]] = event["rows"]
    return rows
