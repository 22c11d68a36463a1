"""From folders of scans to prior folders, through the library and the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_scene import (
    AUTOENCODER,
    DENOISER,
    head,
    prepare_training,
    silent,
    tiny_mapping,
    write_nifti,
    write_scans,
    written_config,
)
from typer.testing import CliRunner

from medldm.cli.app import app
from medldm.errors import UsageError
from medldm.host import Host
from medldm.host.shipped import shipped
from medldm.priors.card_file import read_card, write_card
from medldm.priors.folder import verify
from medldm.training import command
from medldm.training.pair_file import pairs_job
from medldm.training.run import train_autoencoder, train_denoiser

pytestmark = pytest.mark.usefixtures("own_accelerator")


def _sound(host: Host, folder: Path) -> None:
    family: Any = host.build("priors", read_card(folder).family, {})
    assert verify(folder, family.build) == []


def _sections(name: str, networks: Mapping[str, Any], **card: Any) -> dict[str, Any]:
    return tiny_mapping(card={"name": name, "networks": networks, **card})


def test_a_denoiser_becomes_priors_that_nothing_is_said_against(host: Host, scans: Path, tmp_path: Path) -> None:
    also = {"name": "tiny-ct", "modality": "CT", "quantity": "HU", "summary": "The other."}
    window = {"rule": "window", "low": -1000, "high": 1000}
    facts = {**tiny_mapping()["card"]["facts"], "fixed": {"modality": "ct"}}
    prepared = prepare_training(
        host, scans, tmp_path, tiny_mapping(also=[{**also, "intensity": window, "facts": facts}])
    )
    first, second = train_denoiser(prepared, tmp_path / "out", silent)
    assert (first.name, second.name) == ("tiny-mr", "tiny-ct")
    _sound(host, first)
    _sound(host, second)
    card, other = read_card(first), read_card(second)
    assert other.weights["denoiser"].file == "../tiny-mr/denoiser.safetensors"
    assert other.weights["denoiser"].sha256 == card.weights["denoiser"].sha256
    assert not list(second.glob("*.safetensors"))
    assert (other.modality, other.intensity.low, other.facts.fixed) == ("CT", -1000, {"modality": "ct"})
    assert card.training.commands == ("medldm train",)
    assert card.training.figures["steps"] == 6 and card.training.figures["scans"] == 5
    assert set(card.quality["held_back"]) == {"error", "dB at 0.036", "dB at 0.12", "dB at 0.36", "dB at 1.2"}
    history = json.loads((tmp_path / "out" / "training" / "history.json").read_text())
    assert card.quality["held_back"]["error"] == pytest.approx(history[-1]["error"], rel=1e-3)


def test_left_and_resumed_gives_the_same_weights(host: Host, scans: Path, tmp_path: Path) -> None:
    content = tiny_mapping()
    (whole,) = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "a", silent)
    left = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "b", silent, stop_after=1e-9)
    assert left == [] and not (tmp_path / "b" / "tiny-mr").exists()
    (resumed,) = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "b", silent, resume=True)
    weights = [load_file(folder / "denoiser.safetensors") for folder in (whole, resumed)]
    assert all(torch.equal(weights[1][name], tensor) for name, tensor in weights[0].items())


def test_a_run_is_told_from_another_by_all_but_its_length(host: Host, scans: Path, tmp_path: Path) -> None:
    job = prepare_training(host, scans, tmp_path, tiny_mapping()).job()
    assert prepare_training(host, scans, tmp_path, tiny_mapping(run={"steps": 99})).job() == job
    assert prepare_training(host, scans, tmp_path, tiny_mapping(seed=4)).job() != job
    assert prepare_training(host, scans, tmp_path, tiny_mapping(data={"held_back": ["t1w-2", "ct-2"]})).job() != job


@pytest.mark.parametrize("what", ["values", "spacing", "modality"])
def test_a_run_is_told_from_one_of_other_scans(host: Host, tmp_path: Path, what: str) -> None:
    content = tiny_mapping(data={"rules": [{"match": "*", "modality": "MR"}], "held_back": ["t1w-3"]})
    before = prepare_training(host, write_scans(tmp_path / "scans"), tmp_path, content)
    copy = write_scans(tmp_path / "copy")
    assert prepare_training(host, copy, tmp_path, content).job() == before.job()
    if what == "values":
        write_nifti(copy / "t1w-1.nii.gz", 700 * head(9), np.diag([1.2, 1.2, 1.5, 1.0]))
    elif what == "spacing":
        write_nifti(copy / "t1w-1.nii.gz", 700 * head(1), np.diag([1.3, 1.2, 1.5, 1.0]))
    after = prepare_training(host, copy, tmp_path, content)
    if what == "modality":
        after = replace(after, scans=[replace(scan, is_mr=False) for scan in after.scans])
    assert after.job() != before.job()
    assert pairs_job(after, after.config.card) != pairs_job(before, before.config.card)


def test_the_card_states_the_error_of_the_weights_beside_it(host: Host, scans: Path, tmp_path: Path) -> None:
    content = tiny_mapping(optimiser={"rate": 0.3, "warm_up": 0, "average": 1}, run={"steps": 8, "check_every": 1})
    (prior,) = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "out", silent)
    errors = [row["error"] for row in json.loads((tmp_path / "out" / "training" / "history.json").read_text())]
    assert min(errors) < 0.99 * errors[-1]
    card = read_card(prior)
    assert card.training.figures["held_back_error"] == card.quality["held_back"]["error"]
    assert card.training.figures["held_back_error"] == pytest.approx(errors[-1], rel=1e-3)


def test_an_autoencoder_and_the_denoiser_of_its_latents(host: Host, scans: Path, tmp_path: Path) -> None:
    content = _sections("tiny-autoencoder", {"autoencoder": AUTOENCODER})
    content["patches"]["shapes"] = [{"size": 16, "batch": 3}, {"size": 24, "batch": 1}]
    content["reconstruction"] = {"adversary": 0.1, "adversary_from": 3}
    (made,) = train_autoencoder(prepare_training(host, scans, tmp_path, content), tmp_path / "ae", silent)
    _sound(host, made)
    latent = read_card(made).latent
    assert latent is not None and min(latent.scale, latent.gain, latent.error) > 0

    content = _sections("tiny-latent", {"denoiser": {**DENOISER, "channels": 3, "fold": 1}})
    content["card"]["prediction"]["sigma_data"] = 1.0
    content["autoencoder"] = str(made)
    job = prepare_training(host, scans, tmp_path, content).job()
    moved = shutil.copytree(made, tmp_path / "elsewhere")
    assert prepare_training(host, scans, tmp_path, {**content, "autoencoder": str(moved)}).job() == job
    card = read_card(moved)
    write_card(moved, replace(card, weights={"autoencoder": replace(card.weights["autoencoder"], sha256="0" * 64)}))
    assert prepare_training(host, scans, tmp_path, {**content, "autoencoder": str(moved)}).job() != job
    (prior,) = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "ld", silent)
    _sound(host, prior)
    card = read_card(prior)
    assert card.latent == latent and set(card.networks) == {"denoiser", "autoencoder"}
    ours, theirs = (load_file(folder / "autoencoder.safetensors") for folder in (prior, made))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert card.training.config["autoencoder"] == "tiny-autoencoder"  # and not where it lies
    assert card.training.commands == ("medldm train", "medldm train")

    with pytest.raises(UsageError) as refusal:
        content["autoencoder"] = str(_pixel_prior(host, scans, tmp_path))
        train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "no", silent)
    assert refusal.value.code == "E-TRN-30"


def _pixel_prior(host: Host, scans: Path, folder: Path) -> Path:
    content = tiny_mapping(run={"steps": 1})
    return train_denoiser(prepare_training(host, scans, folder, content), folder / "pixel", silent)[0]


def test_slabs_of_neighbouring_slices(host: Host, scans: Path, tmp_path: Path) -> None:
    content = _sections("tiny-slab", {"denoiser": {**DENOISER, "channels": 3}}, slab=3)
    content["patches"] |= {"slab": 3}
    content["data"] |= {"generic": 0.3}
    (prior,) = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "out", silent)
    _sound(host, prior)
    assert read_card(prior).slab == 3


def test_blocks_of_volumes_through_both_networks(host: Host, scans: Path, tmp_path: Path) -> None:
    three = {"family": "volume-diffusion", "dimensions": 3}
    volume = {"dimensions": 3, "shapes": [{"size": 16, "batch": 2}]}
    kl = {"autoencoder": {"widths": [8, 8], "latent_channels": 2}}
    content = _sections("tiny-3d-autoencoder", kl, **three)
    content["patches"], content["run"]["steps"] = volume, 2
    (made,) = train_autoencoder(prepare_training(host, scans, tmp_path, content), tmp_path / "ae", silent)
    _sound(host, made)
    unet = {"denoiser": {"channels": 2, "widths": [8, 16], "middle_attention": False}}
    content = _sections("tiny-3d-latent", unet, **three)
    content["patches"], content["run"]["steps"], content["autoencoder"] = volume, 2, str(made)
    (prior,) = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "ld", silent)
    _sound(host, prior)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_draw_the_same_patches(host: Host, scans: Path, tmp_path: Path) -> None:
    found = []
    for workers in (0, 2):
        content = tiny_mapping(run={"workers": workers})
        (prior,) = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / str(workers), silent)
        found.append((prior / "denoiser.safetensors").read_bytes())
    assert found[0] == found[1]


def test_a_scan_that_cannot_be_read_is_left_out_with_a_reason(host: Host, tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "scans")
    whole = (folder / "t1w-1.nii.gz").read_bytes()
    (folder / "t1w-4.nii.gz").write_bytes(whole[: len(whole) // 2])
    write_nifti(folder / "t1w-5.nii.gz", np.where(head(5) > 0.5, np.nan, 1), np.eye(4))
    write_nifti(folder / "t1w-6.nii.gz", 0 * head(6), np.eye(4))
    (folder / "sub").mkdir()
    write_nifti(folder / "sub" / "t1w-7.nii.gz", head(7), np.eye(4))
    # What lies about in folders of scans is no scan, and does not make the folder one.
    for name in ("LICENSE", ".DS_Store", "notes.txt"):
        (folder / "sub" / name).write_text("words")
    told: list[str] = []
    prepared = prepare_training(
        host, folder, tmp_path, tiny_mapping(), tell=lambda stage, message, fields: told.append(message)
    )
    assert sorted({scan.subject for scan in prepared.scans}) == ["ct-1", "ct-2", *(f"t1w-{n}" for n in (1, 2, 3, 7))]
    left_out = [line for line in told if line.startswith("left out")]
    assert [line.split(":")[0] for line in left_out] == [f"left out t1w-{n}.nii.gz" for n in (4, 5, 6)]
    assert all("E-" in line for line in left_out)


_REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no rule for a scan": ({"data": {"rules": [{"match": "*t1w*", "modality": "MR"}]}}, "E-TRN-03"),
    "a contrast that the card does not know": (
        {"data": {"rules": [{"match": "*", "modality": "MR", "facts": {"contrast": "pd"}}]}},
        "E-TRN-04",
    ),
    "no intensity": ({"data": {"intensity": {"MR": {"rule": "percentile"}}}}, "E-TRN-05"),
    "a broken expression": ({"data": {"rules": [{"match": "*", "modality": "MR", "subject": "(p"}]}}, "E-TRN-06"),
    "nobody held back": ({"data": {"held_back": ["nobody"]}}, "E-TRN-02"),
    "everybody held back": ({"data": {"held_back": ["*"]}}, "E-TRN-02"),
    "no network": ({"card": {"networks": {}}}, "E-TRN-31"),
    "a card that contradicts itself": ({"card": {"spacing_mm": {"low": 2, "high": 1}}}, "E-TRN-32"),
    "a sibling that contradicts itself": ({"also": [{"name": "Not Kebab"}]}, "E-TRN-32"),
    "a misspelt option": ({"run": {"stepz": 3}}, "E-OPT-01"),
    "a misspelt option of a sibling": ({"also": [{"nmae": "x"}]}, "E-OPT-01"),
    "an impossible network": ({"card": {"networks": {"denoiser": {**DENOISER, "groups": 7}}}}, "E-OPT-05"),
}


@pytest.mark.parametrize("case", _REFUSALS)
def test_what_cannot_end_well_is_refused_before_it_begins(host: Host, scans: Path, tmp_path: Path, case: str) -> None:
    sections, code = _REFUSALS[case]
    with pytest.raises(UsageError) as refusal:
        train_denoiser(prepare_training(host, scans, tmp_path, tiny_mapping(**sections)), tmp_path / "out", silent)
    assert refusal.value.code == code and refusal.value.fix
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_way_is_refused_before_it_begins(host: Host, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "tiny-mr").mkdir(parents=True)
    with pytest.raises(UsageError) as refusal:
        train_denoiser(prepare_training(host, scans, tmp_path, tiny_mapping()), tmp_path / "out", silent)
    assert refusal.value.code == "E-TRN-33"


def _cli(*words: object) -> Any:
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_the_command_line_from_scans_to_a_prior(host: Host, scans: Path, tmp_path: Path) -> None:
    config, out = written_config(tmp_path, tiny_mapping()), tmp_path / "out"
    result = _cli("denoiser", scans, "-o", out, "--config", config, "--set", "run.steps=2", "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["scans", "network", "train", "step", "look", "prior"]
    assert events[3]["images_per_s"] > 0 and events[3]["peak_gib"] > 0 and events[3]["total"] == 2
    assert events[-1]["path"] == str(out / "tiny-mr")
    _sound(host, out / "tiny-mr")

    again = _cli("denoiser", scans, "-o", out, "--config", config, "--device", "cpu")
    assert again.exit_code == 2 and "E-TRN-12" in again.output and "--resume" in again.output

    pack = tmp_path / "scans.pack"
    packed = _cli("pack", scans, "-o", pack, "--config", config, "--max-size", "90K", "--json")
    assert packed.exit_code == 0, packed.output
    assert json.loads(packed.stdout.splitlines()[-1])["bytes"] == pack.stat().st_size <= 90 * 1024
    small = _cli("denoiser", pack, "-o", tmp_path / "small", "--config", config, "--set", "run.steps=2", "-q")
    assert small.exit_code == 0 and small.output == ""
    _sound(host, tmp_path / "small" / "tiny-mr")


def test_a_scan_is_not_overwritten_by_a_pack(scans: Path, tmp_path: Path) -> None:
    config, precious = written_config(tmp_path, tiny_mapping()), tmp_path / "precious.nii.gz"
    shutil.copy(scans / "t1w-1.nii.gz", precious)
    before = precious.read_bytes()
    result = _cli("pack", scans, "-o", precious, "--config", config, "--json")
    assert result.exit_code == 2 and json.loads(result.stdout.splitlines()[-1])["code"] == "E-TRN-44"
    assert len(result.stdout.splitlines()) == 1 and precious.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["SCANS", "--config", "slice-pixle"], "E-TRN-21"),
        (["SCANS", "--config", "none.yaml"], "E-YML-03"),
        (["SCANS", "--config", "CONFIG", "--set", "steps"], "E-TRN-20"),
        (["SCANS", "--config", "CONFIG", "--device", "tpu"], "E-TRN-22"),
        (["nowhere", "--config", "CONFIG"], "E-TRN-01"),
        (["EMPTY", "--config", "CONFIG"], "E-TRN-01"),
        (["CONFIG", "--config", "CONFIG"], "E-TRN-40"),
    ],
)
def test_wrong_words_are_refused_by_what_is_wrong(scans: Path, tmp_path: Path, words: list[str], code: str) -> None:
    (tmp_path / "empty").mkdir()
    places = {"SCANS": scans, "CONFIG": written_config(tmp_path, tiny_mapping()), "EMPTY": tmp_path / "empty"}
    result = _cli("denoiser", *(places.get(word, word) for word in words), "-o", tmp_path / "out", "--json")
    assert result.exit_code == 2, result.output
    assert json.loads(result.stdout.splitlines()[-1])["code"] == code


def test_the_card_tells_the_command_and_nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from medldm.cli.train import _command

    words = (
        "train denoiser /data/scans phantoms -o /home/me/out --config my.yaml --set autoencoder=/home/me/ae --resume"
    )
    monkeypatch.setattr(
        sys, "argv", ["x", *words.split(), "--stop-after", "30", "--stop-after=4", "--config=/a/b.yaml"]
    )
    expected = "medldm train denoiser scans phantoms -o out --config my.yaml --set autoencoder=ae --config=b.yaml"
    assert _command() == expected


def test_ctrl_c_saves_and_leaves_with_130(scans: Path, tmp_path: Path) -> None:
    config = written_config(tmp_path, tiny_mapping(run={"steps": 100_000, "check_every": 100_000}))
    words = ["train", "denoiser", scans, "-o", tmp_path / "out", "--config", config, "--json", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "medldm", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "step":
            break
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    last = json.loads(rest.splitlines()[-1])
    assert last["code"] == "E-INT-01" and "--resume" in last["what"]
    assert (tmp_path / "out" / "training" / "state.safetensors").is_file()


@pytest.mark.slow
def test_two_processes_train_one_network(scans: Path, tmp_path: Path) -> None:
    config = written_config(tmp_path, tiny_mapping())
    words = ["train", "denoiser", scans, "-o", tmp_path / "out", "--config", config, "--json", "--device", "cpu"]
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "medldm"]
        + [str(word) for word in [*words, "--stop-after", "300"]],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=170,
    )
    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    # One of the two tells, and both learn: eight patches a step.
    assert [event["event"] for event in events].count("scans") == 1
    (step,) = [event for event in events if event["event"] == "step" and event["index"] == 6]
    assert step["images_per_s"] == pytest.approx(8 * step["steps_per_s"])
    assert (tmp_path / "out" / "tiny-mr" / "card.yaml").is_file() and time.monotonic() - began < 170


@pytest.mark.parametrize("path", sorted((shipped("configs") / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_can_be_read_and_their_networks_built(host: Host, path: Path) -> None:
    config, _ = command.read_config(path.stem)
    family: Any = host.build("priors", config.card.family, {})
    assert family.build(config.card.networks).named()
