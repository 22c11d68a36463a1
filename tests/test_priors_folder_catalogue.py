"""Priors by name: where they are looked for, and what is said of broken and missing ones."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medldm.errors import ComponentMissing
from medldm.host import load_host
from medldm.priors import catalogue
from medldm.priors.card import Intensity, Latent, Prediction, PriorCard, Range
from medldm.priors.catalogue import find_prior, list_priors, open_prior
from medldm.priors.folder import write_prior

CARD = PriorCard(
    name="toy",
    family="no-such-family",
    summary="A toy.",
    modality="MR",
    quantity="arbitrary",
    intensity=Intensity("percentile"),
    dimensions=2,
    spacing_mm=Range(0.5, 2.0),
    sigma=Range(0.02, 20.0),
    prediction=Prediction("edm"),
    networks={"denoiser": {}},
    weights={},
    licence="CC0-1.0",
)
WEIGHTS = {"denoiser": {"a": torch.ones(1000)}}


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders of priors, named in MEDLDM_PRIORS; none is shipped; the working folder is a third one."""

    def none(_: str) -> Path:
        raise ComponentMissing("E-PKG-01", "missing")

    first, second, working = (tmp_path / name for name in ("first", "second", "working"))
    for folder in (first, second, working):
        folder.mkdir()
    monkeypatch.setattr(catalogue, "shipped", none)
    monkeypatch.setenv("MEDLDM_PRIORS", f"{first}{os.pathsep}{second}")
    monkeypatch.chdir(working)
    return first, second


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(ComponentMissing) as caught:
        action()
    assert caught.value.fix
    return caught.value.code


def test_a_prior_is_found_in_the_first_folder_that_holds_it(roots: tuple[Path, Path]) -> None:
    first, second = roots
    write_prior(second / "toy", CARD, WEIGHTS)
    assert find_prior("toy") == second / "toy"
    write_prior(first / "toy", CARD, WEIGHTS)
    assert find_prior("toy") == first / "toy"
    assert [(row.name, row.folder) for row in list_priors()] == [("toy", first / "toy")]


def test_a_path_comes_before_names(roots: tuple[Path, Path], tmp_path: Path) -> None:
    write_prior(roots[0] / "toy", CARD, WEIGHTS)
    write_prior(tmp_path / "elsewhere" / "toy", CARD, WEIGHTS)
    assert find_prior(tmp_path / "elsewhere" / "toy") == tmp_path / "elsewhere" / "toy"
    write_prior(Path("toy"), CARD, WEIGHTS)
    assert find_prior("toy").resolve() == Path.cwd() / "toy"


def test_a_folder_that_happens_to_have_the_name_is_not_in_the_way(roots: tuple[Path, Path]) -> None:
    write_prior(roots[0] / "toy", CARD, WEIGHTS)
    Path("toy").mkdir()
    assert find_prior("toy") == roots[0] / "toy"


def test_shipped_priors_come_last(roots: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "shipped", lambda name: tmp_path / name)
    write_prior(tmp_path / "priors" / "toy", CARD, WEIGHTS)
    assert find_prior("toy") == tmp_path / "priors" / "toy"
    write_prior(roots[1] / "toy", CARD, WEIGHTS)
    assert find_prior("toy") == roots[1] / "toy"


def test_an_unknown_name_gets_the_closest_three(roots: tuple[Path, Path]) -> None:
    for name in ("brain-mr-2d", "brain-mr-3d", "brain-ct", "chest"):
        write_prior(roots[0] / name, CARD, WEIGHTS)
    with pytest.raises(ComponentMissing) as caught:
        find_prior("brain-mr-2")
    assert caught.value.code == "E-PRI-21"
    assert "'brain-mr-2d', 'brain-mr-3d', 'brain-ct'" in caught.value.why
    assert "chest" not in caught.value.why


def test_nothing_installed_and_nothing_there(roots: tuple[Path, Path]) -> None:
    assert list_priors() == []
    assert code_of(lambda: find_prior("toy")) == "E-PRI-21"
    assert code_of(lambda: find_prior("./toy")) == "E-PRI-01"
    assert code_of(lambda: find_prior(roots[0] / "toy")) == "E-PRI-01"


def test_broken_priors_are_rows_with_their_problem(roots: tuple[Path, Path]) -> None:
    first, _ = roots
    for name in ("sound", "truncated", "missing", "typo", "linked"):
        write_prior(first / name, CARD, WEIGHTS)
    file = "denoiser.safetensors"
    (first / "truncated" / file).write_bytes((first / "truncated" / file).read_bytes()[:-10])
    (first / "missing" / file).unlink()
    card = first / "typo" / "card.yaml"
    card.write_text(card.read_text().replace("modality:", "modalty:"))
    (first / "linked" / file).unlink()
    (first / "linked" / file).symlink_to(sys.executable)
    (first / "pickled").mkdir()
    (first / "pickled" / "model.pt").write_bytes(b"\x80\x04N.")
    (first / "no-card").mkdir()
    (first / "no-card" / "x.safetensors").write_bytes(b"")
    autoencoder = CARD.__class__(**{**vars(CARD), "networks": {"autoencoder": {}}, "latent": Latent(1.0)})
    write_prior(first / "half", autoencoder, {"autoencoder": WEIGHTS["denoiser"]})
    (first / "notes").mkdir()
    (first / ".toy.part-1").mkdir()
    (first / ".toy.part-1" / "card.yaml").write_text("")
    (first / "a-file").write_text("")
    rows = {row.name: row for row in list_priors()}
    assert {name: row.code for name, row in rows.items()} == {
        "sound": "",
        "truncated": "E-PRI-11",
        "missing": "E-PRI-08",
        "typo": "E-PRI-06",
        "linked": "E-PRI-09",
        "pickled": "E-PRI-03",
        "no-card": "E-PRI-02",
        "half": "E-PRI-23",
    }
    assert all(bool(row.problem) == bool(row.code) for row in rows.values())
    sound = rows["sound"]
    assert (sound.family, sound.modality, sound.summary) == ("no-such-family", "MR", "A toy.")
    assert sound.bytes == sum(path.stat().st_size for path in (first / "sound").iterdir())
    assert rows["truncated"].family == "no-such-family"


def test_a_folder_that_does_not_exist_is_logged(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MEDLDM_PRIORS", f"/no/such/folder{os.pathsep}{roots[0]}")
    write_prior(roots[0] / "toy", CARD, WEIGHTS)
    with caplog.at_level(logging.WARNING):
        assert [row.name for row in list_priors()] == ["toy"]
    assert "/no/such/folder" in caplog.text


def test_a_family_that_is_not_installed(roots: tuple[Path, Path]) -> None:
    write_prior(roots[0] / "toy", CARD, WEIGHTS)
    assert code_of(lambda: open_prior("toy", load_host())) == "E-PLG-08"


def test_listing_loads_no_torch(roots: tuple[Path, Path]) -> None:
    write_prior(roots[0] / "toy", CARD, WEIGHTS)
    script = (
        "import sys; from medldm.priors.catalogue import list_priors; "
        "assert [row.problem for row in list_priors()][0] == ''; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
