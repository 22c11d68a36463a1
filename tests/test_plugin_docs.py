"""docs/concepts/plugins.md is executed: its plugin is installed and checked, its tables are compared with the code."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from medldm.host import hookspecs
from medldm.host.loading import HOOKS
from medldm.host.needs import NEEDS

PAGE = (Path(__file__).parents[1] / "docs" / "concepts" / "plugins.md").read_text(encoding="utf-8")


def test_every_hook_is_specified_and_documented_with_its_signature() -> None:
    specified = [name for name, hook in vars(hookspecs).items() if hasattr(hook, "medldm_spec")]
    assert sorted(specified) == sorted(HOOKS)
    for name in specified:
        signature = str(inspect.signature(getattr(hookspecs, name))).replace("'", "")
        assert f"\n{name}{signature}\n" in PAGE


def test_register_is_documented_with_its_signature() -> None:
    signature = str(inspect.signature(hookspecs.Register.__call__)).replace("'", "").replace("self, ", "")
    assert f"register{signature}" in PAGE


def test_the_vocabulary_of_needs_is_documented() -> None:
    documented = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", PAGE.partition("## Needs")[2], re.MULTILINE))
    assert {word: meaning.strip() for word, meaning in documented.items() if word in NEEDS} == NEEDS


def written(root: str, target: Path) -> dict[str, str]:
    """The files of a plugin of the page, those under ``root`` there, written as they stand."""
    files = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL))
    own = {title.removeprefix(root): text for title, text in files.items() if title.startswith(root)}
    for title, text in own.items():
        path = target / title
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    return own


@pytest.mark.parametrize(
    ("root", "package"), [("", "acme_binning"), ("shallow/", "acme_shallow"), ("npz/", "acme_npz")]
)
def test_the_distributions_of_the_page_can_be_built(root: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling is not installed: pip install 'medldm[test]'")
    own = written(root, tmp_path / "source")
    project = tomllib.loads(own["pyproject.toml"])
    # As pip calls it, in a process of its own: the backend builds what lies in the folder that it is started in.
    code = (
        f"import {project['build-system']['build-backend']} as backend; print(backend.build_wheel({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "source", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        held = set(wheel.namelist())
    assert f"{project['project']['name'].replace('-', '_')}-1.0.dist-info/entry_points.txt" in held
    assert {title for title in own if title.startswith(package)} <= held


def installed(name: str, root: str, target: Path) -> dict[str, str]:
    """A plugin of the page, its files under ``root`` there, installed; the environment in which it is found."""
    own = written(root, target)
    project = tomllib.loads(own["pyproject.toml"])["project"]
    info = target / f"{name}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{key} = {value}\n" for key, value in project["entry-points"]["medldm"].items())
    (info / "entry_points.txt").write_text(f"[medldm]\n{points}")
    return {**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": "2", "ACME": str(target)}


@pytest.fixture
def distribution(tmp_path: Path) -> dict[str, str]:
    return installed("acme_binning", "", tmp_path)


@pytest.mark.parametrize(("name", "laws"), [("shallow", 20), ("npz", 15)])
def test_the_other_plugins_of_the_page_pass_the_kit(name: str, laws: int, tmp_path: Path) -> None:
    environment = installed(f"acme_{name}", f"{name}/", tmp_path)
    command = [sys.executable, "-m", "medldm", "plugins", "check", name, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    rows = json.loads(done.stdout.splitlines()[0])["rows"]
    assert [row for row in rows if row["status"] == "failed"] == []
    assert done.returncode == 0
    assert len(rows) > laws


def test_the_plugin_of_the_page_passes_the_kit(distribution: dict[str, str]) -> None:
    command = [sys.executable, "-m", "medldm", "plugins", "check", "binning", "--json"]
    done = subprocess.run(command, env=distribution, capture_output=True, text=True, check=False)
    rows = json.loads(done.stdout.splitlines()[0])["rows"]
    assert [row for row in rows if row["status"] == "failed"] == []
    assert done.returncode == 0
    assert len(rows) > 25


def test_the_test_module_of_the_page_passes(distribution: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{distribution['ACME']}/tests"]
    done = subprocess.run(
        command, env=distribution, cwd=distribution["ACME"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed.group(1)) > 25
