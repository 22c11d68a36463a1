"""``card.yaml``: what is written reads back equal, and what is wrong with a card is said by the name of its entry."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medldm.errors import ComponentMissing
from medldm.priors.card import (
    DataSource,
    Facts,
    Intensity,
    Latent,
    Prediction,
    PriorCard,
    Range,
    Regression,
    Size,
    Training,
    Weights,
)
from medldm.priors.card_file import read_card, write_card

BETAS = [1e-4 + (2e-2 - 1e-4) * level / 999 for level in range(1000)]
ALPHA_BARS = []
for beta in BETAS:
    ALPHA_BARS.append((ALPHA_BARS[-1] if ALPHA_BARS else 1.0) * (1 - beta))

CARD = PriorCard(
    name="toy-latent",
    family="toy",
    summary="A toy: with # a sharp, 'quotes', ümlauts and a line that is so long that it has to be broken somewhere.",
    modality="CT",
    quantity="HU",
    intensity=Intensity("window", -1000.0, 1000.0, to=(-1.0, 1.0)),
    dimensions=2,
    spacing_mm=Range(0.5, 1.5),
    sigma=Range(0.02, 150.0),
    prediction=Prediction("epsilon", alpha_bars=tuple(ALPHA_BARS)),
    networks={
        "denoiser": {"widths": [8, 16], "on": True, "word": "no", "deep": {"er": [1e-5, None]}},
        "autoencoder": {},
    },
    weights={
        "denoiser": Weights("denoiser.safetensors", "0" * 64),
        "autoencoder": Weights("../other-one/autoencoder.safetensors", "f" * 64),
    },
    licence="CC-BY-4.0",
    anatomy="chest",
    slab=3,
    planes=("axial", "coronal"),
    slice_spacing_mm=Range(1.0, 3.0),
    size=Size(16, 32, 512),
    facts=Facts({"modality": ("ct", "mr")}, {"spacing_mm": (1.0, 0.5)}, {"modality": "ct", "spacing_mm": 1.0}),
    latent=Latent(4.2, 0.1, 1.3, 0.02),
    training=Training(
        (DataSource("thirty chests", "CC0-1.0", "Somebody 2020"),),
        ("medldm train denoiser x",),
        {"a": 1},
        {"loss": [0.5]},
    ),
    quality={"autoencoder_psnr": {"bound": 36.0, "on": "public volumes"}},
)


def code_and_text(card: PriorCard | Mapping[str, Any], folder: Path) -> tuple[str, str]:
    with pytest.raises(ComponentMissing) as caught:
        write_card(folder, card)
    assert caught.value.fix
    return caught.value.code, f"{caught.value.what} {caught.value.why}"


def test_a_card_reads_back_equal(tmp_path: Path) -> None:
    write_card(tmp_path, CARD)
    assert read_card(tmp_path) == CARD
    assert [path.name for path in tmp_path.iterdir()] == ["card.yaml"]


def test_a_pixel_card_with_everything_left_out_reads_back_equal(tmp_path: Path) -> None:
    card = PriorCard(
        name="toy",
        family="toy",
        summary="",
        modality="MR",
        quantity="arbitrary",
        intensity=Intensity("percentile"),
        dimensions=3,
        spacing_mm=Range(1.0, 1.0),
        sigma=Range(0.1, 1.0),
        prediction=Prediction("flow", levels=1000.0),
        networks={"denoiser": {}},
        weights={"denoiser": Weights("a.safetensors", "0" * 64)},
        licence="",
    )
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


REGRESSOR = replace(
    CARD,
    prediction=Prediction("regression", sigma_data=0.25),
    sigma=None,
    regression=Regression("mri-4x", "mri", {"coils": 8, "bins": None, "mask": {"seed": [1]}}, {"solver": "cg-sense"}),
    latent=None,
    networks={"denoiser": {}},
    weights={"denoiser": CARD.weights["denoiser"]},
)


def test_the_card_of_a_regressor_reads_back_equal_and_has_no_noise_levels(tmp_path: Path) -> None:
    write_card(tmp_path, REGRESSOR)
    assert read_card(tmp_path) == REGRESSOR
    lines = (tmp_path / "card.yaml").read_text(encoding="utf-8").splitlines()
    assert "regression:" in lines and not any(line.startswith("sigma") for line in lines)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (replace(REGRESSOR, regression=None), "'regression' is missing"),
        (replace(REGRESSOR, sigma=Range(0.1, 1.0)), "'sigma'"),
        (replace(REGRESSOR, prediction=Prediction("regression", sigma_data=0.0)), "'prediction.sigma_data'"),
        (replace(REGRESSOR, latent=CARD.latent, networks=CARD.networks, weights=CARD.weights), "'latent'"),
        (replace(CARD, sigma=None), "'sigma' is missing"),
        (replace(CARD, regression=REGRESSOR.regression), "'regression' is given"),
    ],
)
def test_noise_levels_and_a_measurement_exclude_each_other(tmp_path: Path, card: PriorCard, said: str) -> None:
    code, text = code_and_text(card, tmp_path)
    assert code == "E-PRI-07" and said in text


def test_a_card_is_written_for_people(tmp_path: Path) -> None:
    write_card(tmp_path, CARD)
    text = (tmp_path / "card.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert "Research use only" in lines[0]
    assert max(len(line) for line in lines) <= 130
    assert not any(line.endswith(" ") for line in lines)
    assert "&id" not in text
    order = [line.partition(":")[0] for line in lines if line[:1].isalpha()]
    assert order[:4] == ["card", "name", "family", "summary"]
    assert order[-1] == "prediction"
    assert set(order) == {entry.name for entry in dataclasses.fields(PriorCard)} - {"regression", "cube"}
    write_card(tmp_path, read_card(tmp_path))
    assert (tmp_path / "card.yaml").read_text(encoding="utf-8") == text


def test_every_entry_of_the_form_is_written(tmp_path: Path) -> None:
    """A field that is added to the card and forgotten in the file would be lost in silence."""
    from medldm.priors import card_file

    named = [name for _, names in card_file._SECTIONS for name in names]
    assert sorted(named) == sorted(entry.name for entry in dataclasses.fields(PriorCard))


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=150) | st.sampled_from(
    [
        "no",
        "1e5",
        "0o17",
        "~",
        "null",
        "2001-01-01",
        "a: b",
        "- x",
        "'",
        '"',
        "a\nb",
        "a\n",
        " a ",
        "\t",
        "{x",
        "%a",
        "!!int 1",
    ]
)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.none()
plain = st.recursive(
    words | numbers, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=8
)


@settings(max_examples=40, deadline=None)
@given(words, st.dictionaries(words, plain, max_size=3))
def test_any_words_and_plain_data_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, text: str, quality: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("card")
    prediction = Prediction("edm")
    card = replace(CARD, summary=text, licence=text, quality=quality, prediction=prediction)
    write_card(folder, card)
    assert read_card(folder) == card


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("modality: CT", "modality: PET", "E-PRI-06", "modality"),
        ("slab: 3", "slap: 3", "E-PRI-06", "'slap'"),
        ("slab: 3", "slab: three", "E-PRI-06", "'slab'"),
        ("slab: 3", "slab: true", "E-PRI-06", "'slab'"),
        ("family: toy", "", "E-PRI-06", "'family'"),
        ("{low: 0.5, high: 1.5}", "{low: 0.5, hihg: 1.5}", "E-PRI-06", "spacing_mm"),
        ("{low: 0.5, high: 1.5}", "{low: .nan, high: 1.5}", "E-PRI-06", "spacing_mm.low"),
        ("{low: 0.5, high: 1.5}", "{low: 0.5, high: .inf}", "E-PRI-07", "spacing_mm.high"),
        ("card: 1", "card: 2", "E-PRI-05", "version 2"),
        ("card: 1", "card: true", "E-PRI-05", "version True"),
        ("slab: 3", "slab: [3", "E-PRI-04", "line"),
        ("slab: 3", "slab: &a 3", "E-PRI-04", "anchors"),
        ("slab: 3", "slab: 3\nslab: 5", "E-PRI-04", "duplicate"),
        ("slab: 3", "slab: !!python/name:os.system", "E-PRI-04", "YAML"),
        ("denoiser.safetensors", "denoiser.pt", "E-PRI-03", "pickle"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, old: str, new: str, code: str, said: str) -> None:
    write_card(tmp_path, CARD)
    path = tmp_path / "card.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ComponentMissing) as caught:
        read_card(tmp_path)
    assert caught.value.code == code
    assert said in caught.value.what
    assert str(tmp_path) in caught.value.what
    assert caught.value.fix


def test_a_card_that_is_no_text_or_no_table(tmp_path: Path) -> None:
    for content in (b"\xff\xfe\x00", b"- 1\n", b"", b"x" * 2_000_000):
        (tmp_path / "card.yaml").write_bytes(content)
        with pytest.raises(ComponentMissing) as caught:
            read_card(tmp_path)
        assert caught.value.code == "E-PRI-04"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Toy Prior"}, "kebab"),
        ({"intensity": Intensity("window", 100.0, 100.0)}, "intensity.high"),
        ({"intensity": Intensity("window", 0.0, 100.0, to=(1.0, 1.0))}, "intensity.to"),
        ({"intensity": Intensity("percentile", percentile=101.0), "quantity": "arbitrary"}, "intensity.percentile"),
        ({"intensity": Intensity("percentile")}, "HU"),
        ({"spacing_mm": Range(2.0, 1.0)}, "spacing_mm"),
        ({"spacing_mm": Range(0.0, 1.0)}, "spacing_mm"),
        ({"slice_spacing_mm": Range(-1.0, 1.0)}, "slice_spacing_mm"),
        ({"slab": 0}, "slab"),
        ({"dimensions": 3}, "slab"),
        ({"planes": ()}, "planes"),
        ({"planes": ("axial", "axial")}, "planes"),
        ({"size": Size(0)}, "size.multiple"),
        ({"size": Size(16, 32, 31)}, "size.at_most"),
        ({"sigma": Range(1.0, 1.0)}, "sigma"),
        ({"sigma": Range(0.0, 1.0)}, "sigma"),
        ({"sigma": Range(0.001, 1.0)}, "beyond the schedule"),
        ({"sigma": Range(0.02, 1000.0)}, "beyond the schedule"),
        ({"prediction": Prediction("edm", sigma_data=0.0)}, "sigma_data"),
        ({"prediction": Prediction("edm", alpha_bars=(0.9, 0.1))}, "alpha_bars"),
        ({"prediction": Prediction("v")}, "alpha_bars"),
        ({"prediction": Prediction("x0", alpha_bars=(0.5, 0.5, 0.1))}, "decrease"),
        ({"prediction": Prediction("x0", alpha_bars=(1.0, 0.1))}, "decrease"),
        ({"prediction": Prediction("x0", alpha_bars=(0.9, -0.1))}, "decrease"),
        ({"facts": Facts({"a": ("x",)}, {"a": (0.0, 1.0)})}, "both"),
        ({"facts": Facts({"a": ("x", "x")})}, "facts.classes.a"),
        ({"facts": Facts(numbers={"a": (0.0, 0.0)})}, "facts.numbers.a"),
        ({"facts": Facts({"a": ("x",)}, fixed={"a": "y"})}, "facts.fixed.a"),
        ({"facts": Facts(fixed={"a": "y"})}, "facts.fixed.a"),
        ({"facts": Facts(numbers={"a": (0.0, 1.0)}, fixed={"a": "y"})}, "facts.fixed.a"),
        ({"latent": None}, "latent"),
        ({"latent": Latent(0.0)}, "latent.scale"),
        ({"latent": Latent(1.0, gain=0.0)}, "latent.gain"),
        ({"latent": Latent(1.0, error=-1.0)}, "latent.error"),
        ({"networks": {"denoiser": {}}, "latent": Latent(1.0)}, "networks.autoencoder"),
        ({"networks": {"denoiser": {}, "autoencoder": {}, "judge": {}}}, "networks.judge"),
        ({"networks": {}}, "empty"),
        ({"weights": {"denoiser": CARD.weights["denoiser"]}}, "weights.autoencoder"),
        ({"quality": {"psnr": {"mean": float("inf")}}}, "quality.psnr.mean"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    code, text = code_and_text(replace(CARD, **change), tmp_path)
    assert code == "E-PRI-07"
    assert said in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "file",
    [
        "/etc/denoiser.safetensors",
        "../../up/denoiser.safetensors",
        "../denoiser.safetensors",
        "../a/b/denoiser.safetensors",
        "sub/denoiser.safetensors",
        "..\\a\\denoiser.safetensors",
        "../../denoiser.safetensors",
        "../.hidden/denoiser.safetensors",
        "C:denoiser.safetensors",
        "denoiser.safetensors\n",
        "denoiser.h5",
        "",
    ],
)
def test_weights_lie_in_the_folder_or_in_a_sibling(tmp_path: Path, file: str) -> None:
    weights = {**CARD.weights, "denoiser": Weights(file, "0" * 64)}
    code, text = code_and_text(replace(CARD, weights=weights), tmp_path)
    assert code == "E-PRI-07"
    assert "weights.denoiser.file" in text


@pytest.mark.parametrize("digits", ["", "0" * 63, "G" * 64, "A" * 64])
def test_hashes_are_hashes(tmp_path: Path, digits: str) -> None:
    weights = {**CARD.weights, "denoiser": Weights("denoiser.safetensors", digits)}
    assert "sha256" in code_and_text(replace(CARD, weights=weights), tmp_path)[1]
