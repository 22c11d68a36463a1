"""The host with really installed distributions: folders with a dist-info that importlib.metadata finds."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from medldm.errors import ComponentMissing
from medldm.host import Host, PluginRow, load_host

Install = Callable[..., None]

GOOD = """
from medldm import hookimpl

@hookimpl
def register_operators(register):
    register("doubling", "{package}.physics:Doubling", example="{package}.physics:example",
             summary="Twice the image", needs=())

@hookimpl
def register_solvers(register):
    register("copying", "{package}.physics:Doubling", example="{package}.physics:example",
             summary="Nothing", needs="filtered-adjoint")
"""
PHYSICS = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass(frozen=True)
class Doubling:
    factor: float = 2.0

def example():
    return Doubling()

def broken_example():
    raise RuntimeError("no example today")
"""


ADAPTER = """
from medldm import hookimpl

@hookimpl
def register_operators(register):
    register("adapted", "{package}.physics:Doubling", example="{package}.physics:example",
             summary="Twice the image", packages={"no-such-library": "pip install 'acme[library]'", "pytest": "pip"})
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install("evil", plugin="source")`` puts a distribution of that name on the path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    for name in ("MEDLDM_PLUGINS", "MEDLDM_BLOCK_PLUGINS", "MEDLDM_STRICT_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    installed: list[str] = []

    def put(name: str, *, entry: str = "", plugin: str = GOOD, physics: str = PHYSICS, version: str = "1.2") -> None:
        package = name.replace("-", "_")
        (site / package).mkdir()
        (site / package / "__init__.py").write_text("")
        (site / package / "plugin.py").write_text(textwrap.dedent(plugin).replace("{package}", package))
        (site / package / "physics.py").write_text(physics)
        info = site / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[medldm]\n{entry or name} = {package}.plugin\n")
        (info / "RECORD").write_text(f"{package}/__init__.py,,\n{package}/plugin.py,,\n")
        installed.append(package)

    yield put
    for module in [m for m in sys.modules if m.partition(".")[0] in installed]:
        del sys.modules[module]


def row(host: Host, name: str, distribution: str | None = None) -> PluginRow:
    (found,) = [r for r in host.plugins if r.name == name and distribution in (None, r.distribution)]
    return found


def test_a_fine_stranger_is_loaded_lazily(install: Install) -> None:
    install("hosttest-fine")
    host = load_host()
    assert row(host, "hosttest-fine") == PluginRow(
        "hosttest-fine",
        "hosttest-fine",
        "1.2",
        "hosttest_fine.plugin",
        "ok",
        components=("operators/doubling", "solvers/copying"),
    )
    entry = host.find("operators", "doubling")
    assert "hosttest_fine.physics" not in sys.modules
    assert entry.load().__name__ == "Doubling"
    assert entry.load_example().factor == 2.0
    assert host.find("solvers", "copying").needs == ("filtered-adjoint",)
    assert host.build("operators", "doubling", {"factor": 3}).factor == 3.0
    assert host.schema("operators", "doubling")["properties"]["factor"]["default"] == 2.0
    assert "doubling" in host.names("operators")


BROKEN = {
    "E-PLG-01": ('raise RuntimeError("the licence server is away")', ["RuntimeError: the licence server is away"]),
    "E-PLG-02": (
        """
        from medldm import hookimpl

        @hookimpl
        def register_solvers(register):
            register("half", "a:B", example="a:c", summary="Half")
            raise KeyError("in the hook")
        """,
        ["'register_solvers'", "KeyError", "in the hook"],
    ),
    "E-PLG-03": (
        """
        from medldm import hookimpl

        @hookimpl
        def register_solver(register):
            pass
        """,
        ["'register_solver'", "'register_solvers'"],
    ),
    "E-PLG-04": (
        """
        from medldm import hookimpl

        @hookimpl
        def register_solvers(register, registry):
            pass
        """,
        ["register_solvers", "registry"],
    ),
    "E-PLG-05": ("def register_solvers(register): pass", ["'register_solvers'", "not marked"]),
    "E-PLG-06": (
        """
        from medldm import hookimpl

        @hookimpl
        def register_solvers(register):
            register("half", "a:B", example="a:c", summary="Half", needs="filtered-adjont")
        """,
        ["'filtered-adjont'", "'filtered-adjoint'"],
    ),
    "E-PLG-07": (
        """
        from medldm import hookimpl

        @hookimpl
        def register_solvers(register):
            register("half", "a:B", example="a:c", summary="Half")

        @hookimpl
        def register_operators(register):
            register("doubling", "a:B", example="a:c", summary="Twice")
        """,
        ["'hosttest-fine'", "'hosttest-wrong'", "'doubling'"],
    ),
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_plugin_is_a_row_and_everything_else_works(
    install: Install, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, words = BROKEN[code]
    install("hosttest-fine")
    install("hosttest-wrong", plugin=source)
    host = load_host()
    broken = row(host, "hosttest-wrong")
    assert (broken.status, broken.code, broken.components) == ("error", code, ())
    for word in words:
        assert word in broken.error
    assert "\n" not in broken.error
    assert row(host, "hosttest-fine").status == "ok"
    assert host.build("operators", "doubling", {}).factor == 2.0
    assert "half" not in host.names("solvers")
    monkeypatch.setenv("MEDLDM_STRICT_PLUGINS", "1")
    # The named plugin alone is looked at: others of the environment may be broken too.
    with pytest.raises(ComponentMissing) as caught:
        load_host(block=[r.name for r in host.plugins if r.status == "error" and r.name != "hosttest-wrong"])
    assert caught.value.code == code


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.exit(3)",
        "import a_package_that_is_not_there",
        "def broken(:",
        """
        from medldm import hookimpl

        @hookimpl(wrapper=True)
        def register_solvers(register):
            return (yield)
        """,
    ],
)
def test_other_ways_to_be_broken(install: Install, source: str) -> None:
    install("hosttest-wrong", plugin=source)
    assert row(load_host(), "hosttest-wrong").status == "error"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        ('register("Half Full", "a:B", example="a:c", summary="s")', "kebab case"),
        ('register("half", "a.B", example="a:c", summary="s")', "target 'a.B'"),
        ('register("half", "a:B", example="", summary="s")', "example ''"),
        ('register("half", "a:B", example="a:c", summary=" ")', "summary"),
        ('register("half", "a:B", summary="s")', "example"),
        ('[register("half", "a:B", example="a:c", summary="s") for _ in "ab"]', "twice"),
    ],
)
def test_a_malformed_registration_is_that_plugins_error(install: Install, call: str, word: str) -> None:
    install("hosttest-wrong", plugin=f"from medldm import hookimpl\n@hookimpl\ndef register_metrics(register): {call}")
    assert word in row(load_host(), "hosttest-wrong").error


def test_a_stranger_cannot_take_a_first_party_name(install: Install) -> None:
    install("hosttest-nifti", entry="nifti")
    host = load_host()
    assert row(host, "nifti", "medldm").code != "E-PLG-09"
    refused = row(host, "nifti", "hosttest-nifti")
    assert (refused.status, refused.code) == ("error", "E-PLG-09")
    assert "'medldm'" in refused.error
    assert "doubling" not in host.names("operators")
    first = [r.distribution == "medldm" for r in host.plugins]
    assert first == sorted(first, reverse=True)


@pytest.mark.parametrize(
    ("environ", "lists", "status"),
    [
        ({}, {}, "ok"),
        ({"MEDLDM_PLUGINS": ""}, {}, "blocked"),
        ({"MEDLDM_PLUGINS": "other"}, {}, "blocked"),
        ({"MEDLDM_PLUGINS": "other, hosttest_fine"}, {}, "ok"),
        ({"MEDLDM_PLUGINS": ""}, {"allow": ["hosttest-fine"]}, "ok"),
        ({}, {"allow": []}, "blocked"),
        ({}, {"block": ["hosttest-fine"]}, "blocked"),
        ({"MEDLDM_BLOCK_PLUGINS": "x,hosttest-fine"}, {"allow": ["hosttest-fine"]}, "blocked"),
    ],
)
def test_allow_and_block_lists(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    lists: dict[str, list[str]],
    status: str,
) -> None:
    install("hosttest-fine")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    host = load_host(**lists)
    assert row(host, "hosttest-fine").status == status
    assert ("hosttest_fine.plugin" in sys.modules) == (status == "ok")
    assert row(host, "nifti").status != "blocked"


def test_a_first_party_plugin_can_be_blocked() -> None:
    assert row(load_host(block=["nifti"]), "nifti").status == "blocked"


def test_a_misspelt_block_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_host(block=["niftii"])
    assert "'niftii'" in caplog.text


def test_an_unknown_name_is_answered_with_the_closest_and_the_broken_plugin(install: Install) -> None:
    install("hosttest-fine")
    install("hosttest-wrong", plugin=BROKEN["E-PLG-02"][0])
    host = load_host()
    with pytest.raises(ComponentMissing) as caught:
        host.find("operators", "doublin")
    assert caught.value.code == "E-PLG-08"
    assert "'doubling'" in caught.value.why
    assert caught.value.exit_code == 4
    with pytest.raises(ComponentMissing) as caught:
        host.find("solvers", "half")
    assert "in the hook" in caught.value.why
    with pytest.raises(ValueError, match="unknown kind"):
        host.find("operator", "doubling")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "code", "word"),
    [
        ("a_package_that_is_not_there.x:Y", "E-PLG-10", "'a_package_that_is_not_there'"),
        ("{package}.physics:Tripling", "E-PLG-11", "'Tripling'"),
        ("{package}.forgotten:Tripling", "E-PLG-11", "No module named 'hosttest_lost.forgotten'"),
        ("{package}.raising:Tripling", "E-PLG-11", "ZeroDivisionError"),
    ],
)
def test_a_target_that_does_not_resolve_names_plugin_and_package(
    install: Install, tmp_path: Path, target: str, code: str, word: str
) -> None:
    install(
        "hosttest-lost",
        plugin="from medldm import hookimpl\n@hookimpl\ndef register_operators(register):\n"
        f'    register("lost", "{target}", example="{{package}}.physics:broken_example", summary="Lost")',
    )
    (tmp_path / "site" / "hosttest_lost" / "raising.py").write_text("1 / 0")
    entry = load_host().find("operators", "lost")
    with pytest.raises(ComponentMissing) as caught:
        entry.load()
    assert caught.value.code == code
    assert word in caught.value.what
    assert "'hosttest-lost'" in caught.value.what
    with pytest.raises(ComponentMissing) as caught:
        entry.load_example()
    assert caught.value.code == "E-PLG-12"


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
    assert [n.strip("_") for n in names] == ["reconstruct", "census"]
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


def test_a_hook_may_have_another_name_in_the_plugin(install: Install) -> None:
    renamed = GOOD.replace("@hookimpl\ndef register_operators", '@hookimpl(specname="register_operators")\ndef mine')
    install("hosttest-fine", plugin=renamed)
    assert row(load_host(), "hosttest-fine").components == ("operators/doubling", "solvers/copying")


def test_unreadable_metadata_of_a_stranger_hides_nobody(install: Install, tmp_path: Path) -> None:
    install("hosttest-fine")
    info = tmp_path / "site" / "hosttest_bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hosttest-bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[medldm]\nthis line has no equals sign\n")
    assert row(load_host(), "hosttest-fine").status == "ok"


def test_the_host_loads_no_torch() -> None:
    code = "import sys; from medldm.host import load_host; load_host(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_adapter_without_its_library_is_a_plain_row_and_breaks_nothing(install: Install) -> None:
    install("hosttest-adapter", plugin=ADAPTER)
    host = load_host()
    found = row(host, "hosttest-adapter")
    assert (found.status, found.components, found.rejected) == ("absent", (), ("operators/adapted",))
    assert "operators/adapted need no-such-library" in found.error
    assert "pip install 'acme[library]'" in found.error
    assert "pytest" not in found.error
    with pytest.raises(ComponentMissing, match=r"E-PLG-08.*hosttest-adapter.*pip install 'acme\[library\]'"):
        host.find("operators", "adapted")
    with pytest.raises(ComponentMissing) as other:
        host.find("operators", "no-such-thing")
    assert "hosttest-adapter" not in str(other.value)


def test_an_adapter_with_its_library_is_like_any_plugin(install: Install) -> None:
    install("hosttest-adapter", plugin=ADAPTER.replace("no-such-library", "numpy"))
    assert row(load_host(), "hosttest-adapter").components == ("operators/adapted",)
