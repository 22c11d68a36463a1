"""``medldm plugins`` with really installed distributions, sound and broken."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from medldm.cli.app import _add_plugin_commands, app
from medldm.cli.matrix import print_matrix
from medldm.host.option_schema import option_rows
from medldm.testing.matrix import Pair

SOUND = '''
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from medldm.data import Acquisition, AffineMap, Grid, Volume
from medldm.inference import Gaussian
from medldm.operators import Diagonal, Space
from medldm.testing import PhysicsExample


@dataclass(frozen=True)
class Dimmed:
    """Every voxel measured, weaker.

    Attributes:
        gain: of the detector.
    """

    gain: Annotated[float, Field(gt=0, le=1)] = 0.5

    def simulate(self, volume, noise):
        clean = self.gain * volume.data
        drawn = noise.normal(tuple(clean.shape), clean.dtype, "measurement", std=0.1)
        return Acquisition("dimmed", clean + drawn, ("z", "y", "x"), volume.grid, "arbitrary", "OT",
                           AffineMap.identity("arbitrary"), noise_std=0.1, simulated=True)

    def operator(self, acquisition, grid):
        return Diagonal(Space(("z", "y", "x"), grid.shape), torch.tensor(self.gain))

    def likelihood(self, acquisition, operator):
        return Gaussian(operator, acquisition.data, std=0.1)

    def start(self, acquisition, operator):
        return START


def example():
    image = 1 + torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    return PhysicsExample(Dimmed(), Volume(image, Grid.isotropic((2, 3, 4))))
'''
PLUGIN = """
from medldm import hookimpl

@hookimpl
def register_operators(register):
    register("{name}", "{package}.physics:Dimmed", example="{package}.physics:example",
             summary="Weaker [bold]voxels[/]")
"""


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["plugins", *words])


def rows(*words: str) -> list[dict[str, Any]]:
    result = run(*words, "--json")
    found: list[dict[str, Any]] = json.loads(result.stdout.splitlines()[0])["rows"]
    return found


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound plugin, one whose start image is wrong, and one that cannot be imported."""
    for name in ("MEDLDM_PLUGINS", "MEDLDM_BLOCK_PLUGINS", "MEDLDM_STRICT_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    good = SOUND.replace("START", "operator.adjoint(acquisition.data) / self.gain**2")
    wrong = SOUND.replace("START", "-operator.adjoint(acquisition.data)").replace('"dimmed"', '"dimmed-wrong"')
    for package, name, physics in (
        ("clitest_sound", "dimmed", good),
        ("clitest_wrong", "dimmed-wrong", wrong),
        ("clitest_lost", "lost", None),
    ):
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        source = PLUGIN.replace("{name}", name).replace("{package}", package)
        (folder / "plugin.py").write_text(source if physics else "raise OSError('no licence [today]')")
        (folder / "physics.py").write_text(physics or "")
        info = tmp_path / f"{package}-2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.0\n")
        (info / "entry_points.txt").write_text(f"[medldm]\n{package} = {package}.plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in [m for m in sys.modules if m.startswith("clitest_")]:
        monkeypatch.delitem(sys.modules, module)
    return tmp_path


def test_list_shows_sound_and_broken_plugins() -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "operators/dimmed" in result.stdout
    assert "clitest_sound 2.0" in result.stdout
    assert "E-PLG-01" in result.stdout
    assert "OSError: no licence [today]" in " ".join(result.stdout.split())


def test_list_as_json() -> None:
    found = {row["name"]: row for row in rows("list")}
    assert found["clitest_sound"]["components"] == ["operators/dimmed"]
    assert (found["clitest_lost"]["status"], found["clitest_lost"]["code"]) == ("error", "E-PLG-01")
    assert found["nifti"]["distribution"] == "medldm"


def test_flags_allow_and_block() -> None:
    result = CliRunner().invoke(
        app, ["--plugins", "clitest_sound", "--no-plugin", "nifti", "plugins", "list", "--json"]
    )
    found = {row["name"]: row["status"] for row in json.loads(result.stdout)["rows"]}
    assert (found["clitest_sound"], found["clitest_wrong"], found["nifti"]) == ("ok", "blocked", "blocked")


def test_show_prints_the_options() -> None:
    result = run("show", "dimmed")
    assert result.exit_code == 0
    for word in ("operators/dimmed", "Weaker [bold]voxels[/]", "gain", "0.5", "> 0, <= 1", "of the detector"):
        assert word in result.stdout


@pytest.mark.parametrize("component", ["operators/ct-helical", "operators/mri-cartesian"])
def test_show_cuts_nothing_on_a_narrow_terminal(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run("show", component).stdout
    assert "…" not in text
    (row,) = rows("show", component)
    assert {option.path for option in option_rows(row["schema"])} <= set(re.findall(r"[\w.]+", text))


def test_show_as_json_holds_the_schema() -> None:
    (row,) = rows("show", "operators/dimmed")
    assert row["schema"]["properties"]["gain"]["maximum"] == 1
    assert row["plugin"] == "clitest_sound"


@pytest.mark.parametrize(
    ("name", "code", "word"), [("dimed", "E-PLG-14", "dimmed"), ("clitest_lost", "E-PLG-01", "no licence")]
)
def test_show_of_what_is_not_there(name: str, code: str, word: str) -> None:
    result = run("show", name)
    assert result.exit_code == 4
    assert code in result.stderr
    assert word in result.stderr


def test_check_of_a_sound_plugin() -> None:
    found = rows("check", "clitest_sound")
    assert {row["status"] for row in found} <= {"ok", "skipped"}
    assert {"component", "law", "status", "message", "seconds"} == set(found[0])
    result = run("check", "dimmed")
    assert result.exit_code == 0
    assert "start fits" in result.stdout


def test_check_of_a_wrong_plugin_fails_with_code_6() -> None:
    result = run("check", "clitest_wrong")
    assert result.exit_code == 6
    assert "E-PLG-15" in result.stderr
    failed = [row["law"] for row in rows("check", "dimmed-wrong") if row["status"] == "failed"]
    assert failed == ["start explains more than nothing"]


def test_check_of_a_plugin_that_does_not_load() -> None:
    (row,) = rows("check", "clitest_lost")
    assert (row["law"], row["status"]) == ("loads", "failed")
    assert run("check", "clitest_lost").exit_code == 6
    assert run("check", "nobody").exit_code == 4


def test_matrix_says_why_not() -> None:
    found = {(row["physics"], row["solver"]): row for row in rows("matrix")}
    assert found["dimmed", "cgls"]["runs"]
    assert not found["dimmed", "fbp"]["runs"]
    assert found["dimmed", "fbp"]["reasons"] == [
        "It needs an operator with a filtered back-projection, and Diagonal has none."
    ]
    result = run("matrix")
    assert result.exit_code == 0
    assert "fbp with dimmed: It needs an operator with a filtered back-projection" in result.stdout


def test_matrix_warns_of_no_example(caplog: pytest.LogCaptureFixture) -> None:
    rows("matrix")
    assert not caplog.records
    logging.getLogger("medldm.ct").warning("afterwards they are heard")
    assert len(caplog.records) == 1


def test_matrix_is_whole_at_any_width() -> None:
    solvers = ["fbp", *(f"a-solver-of-length-{n}" for n in range(12))]
    pairs = [Pair(name, solver, (name, solver) != ("ct", "fbp")) for name in ("ct", "mri-slices") for solver in solvers]
    pairs[0] = Pair("ct", "fbp", False, ("It needs [more].",))
    shown = {}
    for width in (80, 400):
        console = Console(width=width, color_system=None, file=io.StringIO())
        print_matrix(console, pairs)
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width
        for word in (*solvers, "ct", "mri-slices", "fbp with ct: It needs [more]."):
            assert word in text
        shown[width] = text
    assert shown[400].count("yes") == len(pairs) - 1 and shown[400].count(" no ") == 1
    assert shown[80].count("a-solver-of-length-7") == 2 and "does not run with" in shown[80]


@pytest.mark.parametrize("command", ["show", "check"])
@pytest.mark.parametrize("name", ["clitest_lost", "adapted", "operators/adapted"])
def test_an_adapter_whose_package_is_missing_is_answered_with_the_command(command: str, name: str, site: Path) -> None:
    source = PLUGIN.replace("{name}", "adapted").replace("{package}", "clitest_lost")
    needing = 'packages={"not-on-any-index": "pip install that-one"}, summary='
    (site / "clitest_lost" / "plugin.py").write_text(source.replace("summary=", needing))
    result = run(command, name)
    assert result.exit_code == 4
    assert "E-PLG-16" in result.stderr and "pip install that-one" in result.stderr


def test_a_blocked_plugin_is_not_checked() -> None:
    result = CliRunner().invoke(app, ["--no-plugin", "clitest_sound", "plugins", "check", "clitest_sound"])
    assert result.exit_code == 4
    assert "E-PLG-16" in result.stderr and "blocked by name" in result.stderr


@pytest.mark.parametrize("width", ["80", "400"])
def test_matrix_of_the_installed_plugins_is_readable(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    text = run("matrix").stdout
    assert "…" not in text
    assert {row["solver"] for row in rows("matrix")} <= set(re.findall(r"[\w-]+", text))


@pytest.mark.parametrize("command", ["list", "show", "check", "matrix"])
def test_help_has_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"medldm plugins {command}" in result.stdout


def test_list_loads_no_torch(site: Path) -> None:
    code = "import sys; from medldm.cli.app import _add_plugin_commands, app\n" + (
        "try: app(['plugins', 'list', '--json'])\nexcept SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    environ = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "clitest_sound" in done.stdout


def test_the_kit_needs_no_pytest_outside_of_tests() -> None:
    code = "import sys, medldm.testing.checks, medldm.testing.matrix; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("words", [("--no-plugin", "evil", "--plugins", "a,b"), ("--no-plugin=evil", "--plugins=a,b")])
def test_what_is_blocked_adds_no_commands(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], list[str]]] = []

    class Heard:
        def call_add_commands(self, _: object) -> None:
            pass

    def load(allow: list[str], block: list[str]) -> Heard:
        asked.append((allow, block))
        return Heard()

    monkeypatch.setattr("medldm.host.load_host", load)
    monkeypatch.setattr(sys, "argv", ["medldm", *words, "plugins", "list"])
    _add_plugin_commands()
    assert asked == [(["a", "b"], ["evil"])]
