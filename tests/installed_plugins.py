"""Really installed distributions: folders with a dist-info that importlib.metadata finds."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medldm.host import Host, PluginRow

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
    """The only plugin of that name, and of that distribution where one is given."""
    (found,) = [r for r in host.plugins if r.name == name and distribution in (None, r.distribution)]
    return found
