"""Commands and observers of installed plugins: they are called, and cannot break what calls them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from installed_plugins import Install, install

import medldm
from medldm.data import Grid, Volume
from medldm.errors import GateFailed
from medldm.host import load_host
from medldm.pipeline.recipe import from_mapping

__all__ = ["install"]

COMMANDS = """
from medldm import hookimpl

@hookimpl
def add_commands(app):
    @app.command()
    def {name}() -> None:
        pass
    {then}

@hookimpl
def case_finished(case, record):
    record["seen"].append(case)
    raise OSError("the network share is away")
"""


def test_commands_of_plugins_are_isolated(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("hosttest-adds", plugin=COMMANDS.replace("{name}", "census").replace("{then}", ""))
    install("hosttest-raises", plugin=COMMANDS.replace("{name}", "lost").replace("{then}", "raise ValueError('no')"))
    install("hosttest-takes", plugin=COMMANDS.replace("{name}", "reconstruct").replace("{then}", ""))
    app = typer.Typer()
    app.command()(_reconstruct)
    with caplog.at_level(logging.WARNING):
        load_host().call_add_commands(app)
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    assert names == ["reconstruct", "census"]
    assert "hosttest-raises" in caplog.text
    assert "E-PLG-13" in caplog.text


CENSUS = """
import sys
import typer
from medldm import hookimpl
from medldm.errors import InputRefused

@hookimpl
def add_commands(app):
    @app.command()
    def census(how: str, as_json: bool = typer.Option(False, "--json")) -> None:
        if how == "refuses":
            raise InputRefused("E-ACME-01", "There is nobody to count.", fix="Come back later.")
        if how == "breaks":
            raise ZeroDivisionError("nobody")
        if how == "leaves":
            raise typer.Exit(7)
        if how == "misused":
            raise typer.BadParameter("count something")
"""


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("counts",), 0, ""),
        (("refuses",), 3, "error E-ACME-01: There is nobody to count.\nhint: Come back later.\n"),
        (("breaks",), 1, "error E-BUG-01: Unexpected ZeroDivisionError: nobody\nhint: report it with the traceback"),
        (("leaves",), 7, ""),
        (("misused",), 2, "count something"),
    ],
)
def test_a_command_of_a_plugin_ends_like_one_of_medldm(
    install: Install, tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    install("hosttest-counts", plugin=CENSUS)
    done = _medldm(tmp_path, "census", *words)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert ("Traceback" in done.stderr) == ("breaks" in words)


def test_a_command_of_a_plugin_refuses_in_json(install: Install, tmp_path: Path) -> None:
    install("hosttest-counts", plugin=CENSUS)
    done = _medldm(tmp_path, "census", "refuses", "--json")
    assert json.loads(done.stdout)["code"] == "E-ACME-01"
    assert (done.returncode, done.stderr) == (3, "")


def _medldm(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "medldm", "--plugins", "hosttest-counts", *words]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)


def _reconstruct() -> None:
    pass


_reconstruct.__name__ = "reconstruct"


def test_observers_get_copies_and_cannot_break_a_run(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("hosttest-looks", plugin=COMMANDS.replace("{name}", "census").replace("{then}", ""))
    record: dict[str, Any] = {"seen": []}
    with caplog.at_level(logging.WARNING):
        load_host().case_finished("case-1", record)
    assert record == {"seen": []}
    assert "network share" in caplog.text


def test_an_observer_may_take_fewer_arguments(install: Install) -> None:
    source = "from medldm import hookimpl\nseen = []\n@hookimpl\ndef case_finished(case): seen.append(case)\n"
    install("hosttest-looks", plugin=source)
    load_host().case_finished("case-1", {})
    assert sys.modules["hosttest_looks.plugin"].seen == ["case-1"]


def test_an_observer_sees_a_finished_case_whose_gate_failed(install: Install, tmp_path: Path) -> None:
    source = "from medldm import hookimpl\nseen = []\n@hookimpl\ndef case_finished(record): seen.append(record)\n"
    install("hosttest-looks", plugin=source)
    sections = {
        "acquisition": {"physics": "identity", "noise": {"std": 0.5, "of": "absolute"}},
        "solver": {"name": "tv", "iterations": 3},
        "outputs": {"gates": {"chi_max": 1e-9}, "report": False},
    }
    scan = Volume(100 * torch.eye(20).repeat(6, 1, 1), Grid.isotropic((6, 20, 20)))
    with pytest.raises(GateFailed):
        medldm.reconstruct(
            scan, tmp_path / "out", recipe=from_mapping("strict", sections), simulate=True, host=load_host()
        )
    (record,) = sys.modules["hosttest_looks.plugin"].seen
    assert record["gates_failed"]
