"""``medldm priors``: the list, the page, the check and the import, with the exit codes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDPMPipeline, DDPMScheduler, UNet2DModel
from typer.testing import CliRunner

from medldm.cli.app import app
from medldm.priors import catalogue
from medldm.priors.card import DataSource, Facts, Intensity, Prediction, PriorCard, Range, Size, Training
from medldm.priors.card_file import entries_of, read_card, write_card
from medldm.priors.folder import verify, write_prior
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


def test_list(priors: Path) -> None:
    (priors / "broken").mkdir()
    (priors / "broken" / "model.pt").write_bytes(b"\x80")
    code, out, _ = run("list")
    assert code == 0
    assert "toy" in out
    assert "broken E-PRI-03" in out
    assert CARD.summary in out
    assert f"in {priors}: broken, toy" in out
    rows = rows_of("list")
    assert [(row["name"], row["code"]) for row in rows] == [("broken", "E-PRI-03"), ("toy", "")]
    assert rows[1]["folder"] == str(priors / "toy")
    assert rows[1]["bytes"] > 1000


def test_list_with_nothing_to_list(priors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDLDM_PRIORS")
    code, out, _ = run("list")
    assert code == 0
    assert "No prior is installed" in out
    assert "medldm priors import" in out
    assert rows_of("list") == []


def test_show_is_a_page(priors: Path) -> None:
    code, out, _ = run("show", "toy")
    assert code == 0
    for said in (
        "A toy for [tests].",
        "Research use only",
        "MR head",
        "99.9th percentile",
        "0.5 to 2 mm",
        "t1w | t2w (by the recipe, or unknown)",
        "edm",
        "thirty heads",
        "CC-BY-4.0; Somebody et al. 2020",
        "medldm train denoiser heads",
        "31.5 (on public volumes)",
        "20 numbers",
        "denoiser.safetensors",
    ):
        assert said in out
    assert run("show", priors / "toy")[1] == out


def test_show_as_json_is_the_card(priors: Path) -> None:
    (row,) = rows_of("show", "toy")
    assert row.pop("folder") == str(priors / "toy")
    assert row == json.loads(json.dumps(entries_of(read_card(priors / "toy"))))


def test_show_of_an_unknown_name(priors: Path) -> None:
    code, out, error = run("show", "tony")
    assert (code, out) == (4, "")
    assert "E-PRI-21" in error
    assert "'toy'" in error
    code, out, _ = run("show", "tony", "--json")
    assert json.loads(out)["code"] == "E-PRI-21"


def test_check_of_a_sound_prior(priors: Path) -> None:
    rows = rows_of("check", "toy")
    assert {row["status"] for row in rows} == {"ok", "skipped"}
    assert rows[0]["law"] == "the folder is sound"
    assert len(rows) > 10
    code, out, _ = run("check", priors / "toy")
    assert code == 0
    assert "batch is loop" in out


def test_check_finds_damage(priors: Path) -> None:
    file = priors / "toy" / "denoiser.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    (row,) = rows_of("check", "toy", code=6)
    assert row["status"] == "failed"
    assert "E-PRI-10" in row["message"]
    code, out, error = run("check", "toy")
    assert code == 6
    assert "E-PRI-10" in out
    assert "E-PRI-42" in error


def test_check_finds_networks_that_do_not_fit(priors: Path) -> None:
    longer = {"denoiser": {**CARD.networks["denoiser"], "facts": 5}}
    write_card(priors / "toy", replace(read_card(priors / "toy"), networks=longer))
    assert "E-PRI-14" in rows_of("check", "toy", code=6)[0]["message"]


def test_check_says_the_same_thing_once(ddpm: Path, tmp_path: Path) -> None:
    """A network that must be told a class, and is not, fails most laws for that one reason."""
    unet = UNet2DModel.from_pretrained(ddpm / "unet")
    told = UNet2DModel.from_config({**unet.config, "num_class_embeds": 3})
    told.save_pretrained(tmp_path / "classes", safe_serialization=True)
    DDPMScheduler().save_pretrained(tmp_path / "classes")
    code, text, _ = run("import", tmp_path / "classes", "-o", tmp_path / "mine", *STATED)
    assert code == 6
    assert text.count("E-SLD-09") == 1
    assert text.count("as above") > 3
    code, _, error = run(
        "import", tmp_path / "classes", "-o", tmp_path / "third", *STATED, "--set", 'facts.fixed.class="2"'
    )
    assert code == 0, error


def test_check_finds_a_law_that_does_not_hold(priors: Path) -> None:
    card = read_card(priors / "toy")
    write_card(priors / "toy", replace(card, quality={"identity_error": 1e-9}))
    failed = [row["law"] for row in rows_of("check", "toy", code=6) if row["status"] == "failed"]
    assert failed == ["nearly the identity at sigma min"]


def test_check_without_the_family(priors: Path) -> None:
    write_card(priors / "toy", replace(read_card(priors / "toy"), family="slice-confusion"))
    assert "E-PLG-08" in rows_of("check", "toy", code=6)[0]["message"]


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


def test_a_file_in_the_place_of_a_prior(priors: Path, tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x02")
    for file, named in (
        (tmp_path / "model.ckpt", "E-PRI-03"),
        (priors / "toy" / "card.yaml", f"Name its folder: {priors / 'toy'}"),
        (Path(__file__), "a prior is a folder with card.yaml"),
    ):
        for command in ("show", "check"):
            code, _, error = run(command, file)
            assert code == 4
            assert named in error


def test_check_of_a_folder_that_is_no_prior(ddpm: Path) -> None:
    code, _, error = run("check", ddpm)
    assert code == 4
    assert "E-PRI-02" in error
    assert "medldm priors import" in error


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


def test_help_has_examples() -> None:
    for command in ("list", "show", "check", "import"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"medldm priors {command}" in out
