"""Fine-tuning: a training that begins at the weights of a prior."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_scene import AUTOENCODER, DENOISER, prepare_training, silent, tiny_mapping, written_config
from typer.testing import CliRunner

from medldm.cli.app import app
from medldm.errors import ComponentMissing, UsageError
from medldm.host import Host
from medldm.host.shipped import shipped
from medldm.priors.card import DataSource
from medldm.priors.card_file import read_card
from medldm.priors.folder import verify
from medldm.training import command
from medldm.training.beginning import Role
from medldm.training.run import train_autoencoder, train_denoiser

pytestmark = pytest.mark.usefixtures("own_accelerator")

MINE = {"data": [{"name": "ours", "licence": "CC0-1.0", "attribution": "us"}]}
THEIRS = {"data": [{"name": "theirs", "licence": "CC-BY-4.0", "attribution": "them"}]}


@pytest.fixture(scope="module")
def source(host: Host, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior that has learnt a little."""
    folder = tmp_path_factory.mktemp("source")
    content = tiny_mapping(card={"training": THEIRS}, run={"steps": 40, "check_every": 40})
    return train_denoiser(prepare_training(host, scans, folder, content), folder / "out", silent)[0]


def _own(**sections: Any) -> dict[str, Any]:
    """Somebody else's configuration: other facts, noise levels and network than those of the source."""
    content = tiny_mapping(**sections)
    content["card"] |= {"name": "own", "facts": {}, "training": MINE, "sigma": {"low": 0.02, "high": 3.0}}
    content["card"]["networks"] = {"denoiser": {**DENOISER, "widths": [16, 16]}}
    content["data"]["rules"] = [
        {"match": "*t1w*", "modality": "MR", "facts": {}},
        {"match": "*ct*", "modality": "CT", "facts": {"modality": "ct"}, "subject": "(ct-[0-9]+)"},
    ]
    return content


def test_it_begins_where_the_prior_stands(host: Host, scans: Path, source: Path, tmp_path: Path) -> None:
    content = {**_own(), "begin_at": str(source)}
    content["optimiser"] = {**content["optimiser"], "rate": 1e-12, "decay": 0.0}  # nothing is learnt
    (tuned,) = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "out", silent)
    before, after = (load_file(folder / "denoiser.safetensors") for folder in (source, tuned))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert verify(tuned, host.build("priors", "slice-diffusion", {}).build) == []  # type: ignore[attr-defined]

    history = json.loads((tmp_path / "out" / "training" / "history.json").read_text())
    assert history[0]["step"] == 0 and history[0]["error"] == pytest.approx(history[-1]["error"], rel=1e-6)
    card, theirs = read_card(tuned), read_card(source)
    for name in ("networks", "facts", "prediction", "sigma", "intensity", "size"):
        assert getattr(card, name) == getattr(theirs, name), name
    assert card.name == "own"
    assert card.training.data == (
        DataSource("theirs", "CC-BY-4.0", "them"),
        DataSource("ours", "CC0-1.0", "us"),
    )
    assert card.training.commands == ("medldm train", "medldm train")
    assert card.training.config["begin_at"] == "tiny-mr"  # and not where it lies


def test_what_the_prior_always_tells_is_told_of_own_scans_too(
    host: Host, scans: Path, source: Path, tmp_path: Path
) -> None:
    prepared = prepare_training(host, scans, tmp_path, {**_own(), "begin_at": str(source)})
    facts = {scan.subject[:2]: dict(scan.facts) for scan in prepared.scans}
    assert facts == {"t1": {"modality": "mr"}, "ct": {"modality": "ct"}}


def test_it_learns_more_than_a_training_from_nothing(host: Host, scans: Path, source: Path, tmp_path: Path) -> None:
    errors = {}
    for name, begin_at in (("tuned", str(source)), ("fresh", "")):
        content = {**tiny_mapping(run={"steps": 8, "check_every": 4}), "begin_at": begin_at}
        told: list[tuple[str, str]] = []
        prepared = prepare_training(host, scans, tmp_path, content)
        train_denoiser(
            prepared, tmp_path / name, lambda stage, message, fields, told=told: told.append((stage, message))
        )
        errors[name] = json.loads((tmp_path / name / "training" / "history.json").read_text())[-1]["error"]
        verdict = [message for _, message in told if "where it began" in message]
        assert len(verdict) == (name == "tuned")
    assert errors["tuned"] < errors["fresh"]


def test_another_prior_is_another_run(host: Host, scans: Path, source: Path, tmp_path: Path) -> None:
    content = {**tiny_mapping(), "begin_at": str(source)}
    job = prepare_training(host, scans, tmp_path, content).job()
    moved = shutil.copytree(source, tmp_path / "elsewhere")
    assert prepare_training(host, scans, tmp_path, {**content, "begin_at": str(moved)}).job() == job
    assert prepare_training(host, scans, tmp_path, tiny_mapping()).job() != job


def test_an_autoencoder_and_its_denoiser_begin_at_one_latent_prior(host: Host, scans: Path, tmp_path: Path) -> None:
    content = tiny_mapping(card={"name": "tiny-ae", "networks": {"autoencoder": AUTOENCODER}})
    (first,) = train_autoencoder(
        prepare_training(host, scans, tmp_path, content, role="autoencoder"), tmp_path / "ae", silent
    )
    latent = {"name": "tiny-latent", "networks": {"denoiser": {**DENOISER, "channels": 3, "fold": 1}}}
    content = {**tiny_mapping(card=latent), "autoencoder": str(first)}
    (prior,) = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "ld", silent)

    still = {"rate": 1e-12, "decay": 0.0}
    content = {**tiny_mapping(card={"name": "own-ae"}, optimiser=still), "begin_at": str(prior)}
    (again,) = train_autoencoder(
        prepare_training(host, scans, tmp_path, content, role="autoencoder"), tmp_path / "ae2", silent
    )
    ours, theirs = (load_file(folder / "autoencoder.safetensors") for folder in (again, prior))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())

    # The denoiser takes the autoencoder of the prior along, or another one that the configuration names.
    content = {**tiny_mapping(card={"name": "own-latent"}), "begin_at": str(prior)}
    (tuned,) = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "ld2", silent)
    assert read_card(tuned).latent == read_card(prior).latent
    prepared = prepare_training(host, scans, tmp_path, {**content, "autoencoder": str(again)})
    assert prepared.config.autoencoder == str(again)


_REFUSED: dict[str, tuple[dict[str, Any], Role, str]] = {
    "other images": ({"card": {"modality": "CT"}}, "denoiser", "its modality is MR, the configuration's CT"),
    "volumes": ({"card": {"dimensions": 3}}, "denoiser", "its number of dimensions is 2, the configuration's 3"),
    "no such network": ({}, "autoencoder", "it has no autoencoder"),
    "images for latents": ({"autoencoder": "somewhere"}, "denoiser", "it denoises images"),
    "a regressor": ({"card": {"prediction": {"kind": "regression"}, "sigma": None}}, "denoiser", "a regressor begins"),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_weights_of_another_kind_are_refused(source: Path, tmp_path: Path, case: str) -> None:
    sections, role, words = _REFUSED[case]
    path = written_config(tmp_path, tiny_mapping(**sections))
    with pytest.raises(UsageError) as refusal:
        command.read_config(path, role=role, begin_at=str(source))
    assert refusal.value.code == "E-TRN-34" and words in refusal.value.what and refusal.value.fix


def test_the_command_line_takes_a_prior_by_name_or_folder(scans: Path, source: Path, tmp_path: Path) -> None:
    config = written_config(tmp_path, _own(run={"steps": 2, "check_every": 2}))
    words = ["train", "denoiser", scans, "-o", tmp_path / "out", "--config", config, "--json", "--device", "cpu"]
    result = CliRunner().invoke(app, [*map(str, words), "--from", str(source)])
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["step"] for event in events if event["event"] == "look"] == [0, 2]
    assert verify(tmp_path / "out" / "own") == []

    own, _ = command.read_config("own-mr", begin_at="brain-mr-2d-pixel")
    assert own.card.networks == read_card(shipped("priors") / "brain-mr-2d-pixel").networks
    with pytest.raises(ComponentMissing, match="brain-mr-2d-pixl"):
        command.read_config("own-mr", begin_at="brain-mr-2d-pixl")
