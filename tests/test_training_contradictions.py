"""Configurations of which no prior could come: refused before anything is learnt."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from training_scene import AUTOENCODER, DENOISER, prepare_training, silent, tiny_config, tiny_mapping

from medldm.errors import UsageError
from medldm.host import Host
from medldm.host.shipped import shipped
from medldm.priors.card import Facts
from medldm.priors.card_file import read_card, write_card
from medldm.priors.family import PriorFamily
from medldm.training.cards import cards_of, contradictions
from medldm.training.command import read_config
from medldm.training.run import train_autoencoder, train_denoiser

pytestmark = pytest.mark.usefixtures("own_accelerator")

SIBLING = {
    **{"name": "tiny-ct", "modality": "CT", "quantity": "HU", "summary": "The other."},
    **{"intensity": {"rule": "window", "low": -1000, "high": 1000}, "facts": {}},
}

_IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "a single patch to look at": {"run": {"check_patches": 1}},
    "patches without a shape": {"patches": {"shapes": []}},
    "a share of patches below zero": {"patches": {"planes": {"axial": -1.0}}},
    "scaled by zero": {"augmentation": {"zoom": 0.0}},
    "brighter by zero": {"augmentation": {"gain_range": 0.0}},
    "brighter without end": {"augmentation": {"gain_range": float("inf")}},
    "rotated by less than nothing": {"augmentation": {"degrees": -1.0}},
    "moments that forget nothing": {"optimiser": {"betas": [0.9, 1.0]}},
}


@pytest.mark.parametrize("case", _IMPOSSIBLE)
def test_impossible_values_are_refused_by_name(case: str) -> None:
    with pytest.raises(UsageError) as refusal:
        tiny_config(**_IMPOSSIBLE[case])
    assert refusal.value.code == "E-OPT-04"
    (section,) = _IMPOSSIBLE[case]
    assert f"{section}." in refusal.value.what


_CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "patches that the network cannot halve": ({"patches": {"shapes": [{"size": 18, "batch": 2}]}}, "E-TRN-32.*size 18"),
    "sizes that the network cannot halve": ({"card": {"size": {"multiple": 2}}}, "E-TRN-32.*multiples of 4"),
    "a slab of patches alone": ({"patches": {"slab": 3}}, "E-TRN-32.*'patches.slab' is 3"),
    "a slab of the card alone": ({"card": {"slab": 3}}, "E-TRN-32.*'slab' is 3"),
    "blocks for a network of slices": ({"patches": {"dimensions": 3}}, "E-TRN-32.*'patches.dimensions' is 3"),
    "complex images": ({"card": {"complex": "channels"}}, "E-TRN-32.*magnitudes"),
    "intensities of its own": (
        {"card": {"intensity": {"rule": "percentile", "percentile": 98.0}}},
        "E-TRN-32.*'data.intensity.MR'",
    ),
    "a sibling of other intensities": (
        {"also": [{**SIBLING, "intensity": {"rule": "window", "low": -1000, "high": 3000}}]},
        "E-TRN-32.*'tiny-ct'.*'data.intensity.CT'",
    ),
    "a sibling of another slab": ({"also": [{**SIBLING, "slab": 3}]}, "E-TRN-32.*'tiny-ct'.*'slab'"),
    "siblings of two units": (
        {"also": [SIBLING, {**SIBLING, "name": "other-ct", "quantity": "1/mm"}]},
        "E-TRN-32.*'other-ct'.*'HU'",
    ),
    "channels that patches do not have": (
        {"card": {"networks": {"denoiser": {**DENOISER, "channels": 2}}}},
        r"E-TRN-35.*\(1, 16, 16\)",
    ),
}


@pytest.mark.parametrize("case", _CONTRADICTIONS)
def test_a_denoiser_that_could_not_be_used_is_not_trained(host: Host, scans: Path, tmp_path: Path, case: str) -> None:
    sections, match = _CONTRADICTIONS[case]
    prepared = prepare_training(host, scans, tmp_path, tiny_mapping(**sections))
    with pytest.raises(UsageError, match=match) as refusal:
        train_denoiser(prepared, tmp_path / "out", silent)
    assert refusal.value.fix and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("size", "match"), [(15, "E-TRN-32.*size 15"), (4, "E-TRN-35"), (6, "E-TRN-35")])
def test_an_autoencoder_is_not_trained_on_patches_too_small_for_it(
    host: Host, scans: Path, tmp_path: Path, size: int, match: str
) -> None:
    content = tiny_mapping(card={"networks": {"autoencoder": AUTOENCODER}})
    content["patches"]["shapes"] = [{"size": 16, "batch": 2}, {"size": size, "batch": 2}]
    prepared = prepare_training(host, scans, tmp_path, content, role="autoencoder")
    with pytest.raises(UsageError, match=match):
        train_autoencoder(prepared, tmp_path / "out", silent)


@pytest.mark.parametrize("path", sorted((shipped("configs") / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_contradict_nothing(host: Host, path: Path) -> None:
    config, _ = read_config(path.stem)
    networks = cast(PriorFamily, host.build("priors", config.card.family, {})).build(config.card.networks)
    assert [list(contradictions(card, config, networks)) for card in cards_of(config.card, config)] == [
        [] for _ in range(1 + len(config.also))
    ]


@pytest.fixture(scope="module")
def autoencoder(host: Host, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of MR and CT, by the intensities of the scene."""
    folder = tmp_path_factory.mktemp("autoencoder")
    training = {"data": [{"name": "theirs", "licence": "CC-BY-NC-4.0", "attribution": "them"}]}
    card = {"name": "tiny-ae", "networks": {"autoencoder": AUTOENCODER}, "training": training}
    content = tiny_mapping(card=card, run={"steps": 1})
    prepared = prepare_training(host, scans, folder, content, role="autoencoder")
    return train_autoencoder(prepared, folder / "out", silent)[0]


LATENT = {"denoiser": {**DENOISER, "channels": 3, "fold": 1}}


def test_the_data_of_the_autoencoder_stand_on_the_card_of_the_denoiser(
    host: Host, scans: Path, autoencoder: Path, tmp_path: Path
) -> None:
    mine = {"data": [{"name": "ours", "licence": "CC0-1.0", "attribution": "us"}]}
    content = tiny_mapping(card={"networks": LATENT, "training": mine}, also=[SIBLING], run={"steps": 1})
    content["autoencoder"] = str(autoencoder)
    made = train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "out", silent)
    for folder in made:
        assert [one.name for one in read_card(folder).training.data] == ["theirs", "ours"]


_WINDOW = {"rule": "window", "low": -1000, "high": 3000}
_OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "other model values": (
        {"card": {"intensity": {"rule": "percentile", "to": [-1.0, 1.0]}}},
        "E-TRN-30.*'tiny-ae'.*'tiny-mr': its intensity is up to percentile 99.9 as 0 to 1, the card's .* as -1 to 1",
    ),
    "slabs": ({"card": {"slab": 3}, "patches": {"slab": 3}}, "E-TRN-30.*its slab is 1, the card's 3"),
    "volumes": ({"card": {"dimensions": 3}}, "E-TRN-30.*its dimensions is 2, the card's 3"),
    "other model values of a sibling": (
        {
            "also": [{**SIBLING, "intensity": _WINDOW}],
            "data": {"intensity": {"MR": {"rule": "percentile"}, "CT": _WINDOW}},
        },
        "E-TRN-30.*'tiny-ct': it saw CT in other intensities",
    ),
    "other channels than the latent": ({"card": {"networks": {"denoiser": {**DENOISER, "fold": 1}}}}, "E-TRN-35"),
    "latents that the network cannot halve": (
        {"patches": {"shapes": [{"size": 18, "batch": 2}]}},
        "E-TRN-32.*size 18, but the networks take multiples of 4",
    ),
}


@pytest.mark.parametrize("case", _OTHERS)
def test_a_denoiser_does_not_learn_latents_of_other_images(
    host: Host, scans: Path, autoencoder: Path, tmp_path: Path, case: str
) -> None:
    sections, match = _OTHERS[case]
    content = {**tiny_mapping(card={"networks": LATENT}), "autoencoder": str(autoencoder)}
    for name, changes in sections.items():
        content[name] = {**content[name], **changes} if isinstance(changes, dict) else changes
    prepared = prepare_training(host, scans, tmp_path, content)
    with pytest.raises(UsageError, match=match):
        train_denoiser(prepared, tmp_path / "out", silent)


def test_an_autoencoder_of_one_modality_or_unit_is_none_for_another(
    host: Host, scans: Path, autoencoder: Path, tmp_path: Path
) -> None:
    alone = shutil.copytree(autoencoder, tmp_path / "alone")
    write_card(alone, replace(read_card(alone), facts=Facts()))
    content = {**tiny_mapping(card={"networks": LATENT}, also=[SIBLING]), "autoencoder": str(alone)}
    with pytest.raises(UsageError, match=r"E-TRN-30.*its modality is MR, the card's CT"):
        train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "out", silent)
    write_card(alone, replace(read_card(autoencoder), quantity="1/mm"))
    with pytest.raises(UsageError, match=r"E-TRN-30.*its quantity is 1/mm, the card's arbitrary"):
        train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "out", silent)
