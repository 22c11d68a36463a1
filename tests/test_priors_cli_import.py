"""``medldm priors import``: what is stated, what stays assumed, and refusals that leave nothing behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DModel
from priors_commands import STATED, ddpm, priors, rows_of, run

from medldm.priors.card import Range
from medldm.priors.card_file import read_card
from medldm.priors.folder import verify
from medldm_slice_ldm.family import SliceDiffusion

__all__ = ["ddpm", "priors"]


@pytest.fixture(scope="module")
def ldm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small latent one."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=2,
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2,
        mid_block_add_attention=False,
    )
    unet = UNet2DModel(
        sample_size=8,
        in_channels=2,
        out_channels=2,
        block_out_channels=(4, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=2,
    )
    folder = tmp_path_factory.mktemp("foreign") / "ldm"
    for part, name in ((vae, "vae"), (unet, "unet"), (DDPMScheduler(clip_sample=False), "scheduler")):
        part.save_pretrained(folder / name)
    parts = {"vae": "AutoencoderKL", "unet": "UNet2DModel", "scheduler": "DDPMScheduler"}
    index = {"_class_name": "LDMPipeline", **{name: ["diffusers", part] for name, part in parts.items()}}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_import_and_check(ddpm: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine" / "ddpm-brain"
    rows = rows_of("import", ddpm, "-o", out, *STATED, "--set", "name=my-brain", "--set", "anatomy=head")
    assert {row["status"] for row in rows} == {"ok", "skipped"}
    card = read_card(out)
    assert (card.name, card.modality, card.anatomy, card.planes) == ("my-brain", "MR", "head", ("axial",))
    assert card.spacing_mm == Range(0.8, 1.2)
    assert len(card.prediction.alpha_bars) == 1000
    assert "assumed" not in card.training.figures, "all of it was stated"
    assert verify(out, SliceDiffusion().build) == []
    assert [path.name for path in out.parent.iterdir()] == ["ddpm-brain"]
    code, text, _ = run("import", ddpm, "-o", tmp_path / "again", *STATED)
    assert code == 0
    assert "DDPMPipeline" in text


def test_what_is_not_stated_stays_assumed(ldm: Path, tmp_path: Path) -> None:
    code, text, error = run("import", ldm, "-o", tmp_path / "mine", *STATED, "--set", "latent.error=0.03")
    assert code == 0, error
    card = read_card(tmp_path / "mine")
    assert card.latent is not None
    assert card.latent.error == 0.03
    assert set(card.training.figures["assumed"]) == {"latent.gain"}
    assert "assumed latent.gain: measured on latents drawn" in text
    code, text, _ = run("show", tmp_path / "mine")
    assert "assumed latent.gain" in text


def test_import_lists_all_that_is_missing_at_once(ddpm: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    code, _, error = run("import", ddpm, "-o", out, "--set", "modality=CT", "--set", "intensity.rule=window")
    assert code == 2
    assert "E-PRI-41" in error
    sentence = error.splitlines()[0]
    for name in (
        "quantity",
        "spacing_mm.low",
        "spacing_mm.high",
        "planes",
        "licence",
        "intensity.low",
        "intensity.high",
    ):
        assert name in sentence
    assert "modality" not in sentence
    assert "intensity.rule" not in sentence
    hint = error.partition("hint: ")[2]
    assert "'planes=[axial]'" in hint
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        (["--set", "modality"], 2, "E-PRI-43"),
        (["--set", "=MR"], 2, "E-PRI-43"),
        (["--set", "modality.is=MR"], 2, "E-PRI-43"),
        ([*STATED, "--set", "anatomi=head"], 4, "'anatomy'"),
        ([*STATED, "--set", "modality=PET"], 4, "E-PRI-06"),
        ([*STATED, "--set", "spacing_mm.low=5"], 4, "E-PRI-07"),
        ([*STATED, "--set", "networks.denoiser.kind=unet"], 4, "E-PRI-17"),
        ([*STATED, "--family", "no-such"], 4, "E-PLG-08"),
    ],
)
def test_import_refuses_and_leaves_nothing(
    ddpm: Path, tmp_path: Path, changes: list[str], code: int, named: str
) -> None:
    found, _, error = run("import", ddpm, "-o", tmp_path / "new" / "place" / "mine", *changes)
    assert found == code
    assert named in error
    assert list(tmp_path.iterdir()) == [], "nor are the parents left that were made for it"


def test_a_refused_import_leaves_what_was_there(ddpm: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert run("import", ddpm, "-o", tmp_path / "mine" / "new" / "prior")[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert list((tmp_path / "mine").iterdir()) == []


def test_import_says_why_no_family_takes_it(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    code, _, error = run("import", tmp_path / "source", "-o", tmp_path / "mine")
    assert code == 4
    assert "E-PRI-40" in error
    assert "slice-diffusion: " in error
    assert "volume-diffusion: " in error
    code, _, error = run("import", tmp_path / "source", "-o", tmp_path / "mine", "--family", "slice-diffusion")
    assert code == 4
    assert "E-SLD-03" in error
    code, _, error = run("import", tmp_path / "missing", "-o", tmp_path / "mine")
    assert code == 4
    assert "There is no folder" in error


def test_the_family_that_knows_the_layout_says_what_is_wrong(ddpm: Path, tmp_path: Path) -> None:
    shutil.copytree(ddpm, tmp_path / "pickled")
    file = tmp_path / "pickled" / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))
    code, _, error = run("import", tmp_path / "pickled", "-o", tmp_path / "mine", *STATED)
    assert code == 4
    assert "E-PRI-03" in error
    assert "safe_serialization=True" in error
    assert "volume-diffusion" not in error


@pytest.mark.parametrize(
    ("file", "named", "words"),
    [
        ("model.ckpt", "E-PRI-03", "a pickle"),
        ("unet.safetensors", "E-PRI-40", "a file, and an import takes the folder"),
    ],
)
def test_import_of_a_single_file(tmp_path: Path, file: str, named: str, words: str) -> None:
    (tmp_path / file).write_bytes(b"\x80\x02")
    code, _, error = run("import", tmp_path / file, "-o", tmp_path / "mine")
    assert code == 4
    assert named in error
    assert words in error
    assert "as a folder of safetensors" in error


def test_import_of_a_prior_folder_says_that_it_is_one(priors: Path, tmp_path: Path) -> None:
    code, _, error = run("import", priors / "toy", "-o", tmp_path / "mine")
    assert code == 4
    assert "already" in error


def test_a_folder_for_ct_is_asked_for_its_window(ddpm: Path, tmp_path: Path) -> None:
    code, _, error = run("import", ddpm, "-o", tmp_path / "mine", "--set", "modality=CT")
    assert code == 2
    assert "--set quantity=HU --set intensity.rule=window" in error
    assert "--set intensity.low=-1000 --set intensity.high=1000" in error


def test_import_overwrites_nothing(ddpm: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    code, _, error = run("import", ddpm, "-o", tmp_path / "mine", *STATED)
    assert code == 2
    assert "E-PRI-18" in error
    assert list((tmp_path / "mine").iterdir()) == []


def test_import_into_a_place_that_cannot_be_written(ddpm: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, error = run("import", ddpm, "-o", tmp_path / "file" / "mine", *STATED)
    assert code == 2
    assert "E-PRI-19" in error
