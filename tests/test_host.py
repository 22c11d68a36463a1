"""The host with really installed distributions: what is loaded, found, blocked and absent."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from installed_plugins import GOOD, Install, install, row

from medldm.errors import ComponentMissing
from medldm.host import PluginRow, load_host

__all__ = ["install"]

ADAPTER = """
from medldm import hookimpl

@hookimpl
def register_operators(register):
    register("adapted", "{package}.physics:Doubling", example="{package}.physics:example",
             summary="Twice the image", packages={"no-such-library": "pip install 'acme[library]'", "pytest": "pip"})
"""


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


def test_a_hook_may_have_another_name_in_the_plugin(install: Install) -> None:
    renamed = GOOD.replace("@hookimpl\ndef register_operators", '@hookimpl(specname="register_operators")\ndef mine')
    install("hosttest-fine", plugin=renamed)
    assert row(load_host(), "hosttest-fine").components == ("operators/doubling", "solvers/copying")


def test_two_missing_libraries_are_told_in_the_plural(install: Install) -> None:
    libraries = ADAPTER.replace("packages={", 'packages={"no-other-library": "pip install other", ')
    install("hosttest-adapter", plugin=libraries)
    told = row(load_host(), "hosttest-adapter").error
    assert "no-other-library and no-such-library, which are not installed" in told


def test_the_host_loads_no_torch() -> None:
    code = "import sys; from medldm.host import load_host; load_host(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_adapter_without_its_library_is_a_plain_row_and_breaks_nothing(install: Install) -> None:
    install("hosttest-adapter", plugin=ADAPTER)
    host = load_host()
    found = row(host, "hosttest-adapter")
    assert (found.status, found.components, found.rejected) == ("absent", (), ("operators/adapted",))
    assert "operators/adapted needs no-such-library, which is not installed" in found.error
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
