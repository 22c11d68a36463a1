"""``medldm priors``: the list, the page and the check, with the exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from diffusers import DDPMScheduler, UNet2DModel
from priors_commands import CARD, STATED, ddpm, priors, rows_of, run

from medldm.priors.card_file import entries_of, read_card, write_card

__all__ = ["ddpm", "priors"]


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


def test_help_has_examples() -> None:
    for command in ("list", "show", "check", "import"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"medldm priors {command}" in out
