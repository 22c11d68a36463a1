"""Commands and observers of installed plugins: they are called, and cannot break what calls them."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
import typer
from installed_plugins import Install, install

from medldm.host import load_host

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
