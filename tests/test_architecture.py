"""The layers of the design, kept by reading every import; there is no list of exceptions."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "medldm"
PLUGINS = ROOT / "plugins"

# Each layer may import itself and the layers named here, at run time.
_DOWN = {
    "errors": set(),
    "aside": {"errors"},
    "data": {"errors"},
    "operators": {"data", "errors"},
    "inference": {"operators", "data", "errors"},
    "host": {"errors"},
    "priors": {"inference", "operators", "data", "host", "aside", "errors"},
    "pipeline": {"priors", "inference", "operators", "data", "host", "aside", "errors"},
    "training": {"priors", "inference", "operators", "data", "host", "errors", "pipeline"},
    "batch": {"report", "pipeline", "priors", "inference", "operators", "data", "host", "aside", "errors"},
    "report": {"pipeline", "priors", "inference", "operators", "data", "host", "aside", "errors"},
    "pacs": {"aside", "errors"},
    "testing": {"pipeline", "priors", "inference", "operators", "data", "host", "errors"},
    "__main__": {"cli"},
    "cli": {
        *("batch", "report", "pacs", "testing", "training", "pipeline", "priors"),
        *("inference", "operators", "data", "host", "errors"),
    },
}
_PLUGIN_MAY = {"data", "operators", "inference", "priors", "host", "aside", "errors"}
_HOLLOW_NAMES = {"utils", "util", "common", "helpers", "base", "misc", "core"}


def _imports(path: Path) -> list[str]:
    """Every module imported at run time, wherever in the file; TYPE_CHECKING blocks do not run."""
    found = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide their layer"
            found.append(node.module or "")
            found.extend(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def _layer(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "medldm" and len(parts) > 1 and (parts[1] in _DOWN) else None


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "tests" not in path.relative_to(folder).parts)


@pytest.mark.parametrize("path", _sources(PACKAGE), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if layer == "__init__":
        return  # the package itself: version, hookimpl and two lazy doors, tested below
    assert layer in _DOWN, f"{path} belongs to no layer"
    for module in _imports(path):
        target = _layer(module)
        if target is not None and target != layer:
            assert target in _DOWN[layer], f"{layer} must not import {module}"
        assert not module.startswith("medldm_"), f"the host must not import the plugin {module}"


_PLUGIN_SOURCES = [path for plugin in sorted(PLUGINS.glob("medldm_*")) for path in _sources(plugin)]


@pytest.mark.parametrize("path", _PLUGIN_SOURCES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_plugins_keep_to_the_borders(path: Path) -> None:
    own = path.relative_to(PLUGINS).parts[0]
    for module in _imports(path):
        head = module.split(".")[0]
        assert not head.startswith("medldm_") or head == own, f"{own} must not import {module}"
        layer = _layer(module)
        if layer is not None:
            allowed = _PLUGIN_MAY | ({"testing"} if path.name == "examples.py" else set())
            assert layer in allowed, f"{path}: a plugin must not import {module}"


@pytest.mark.parametrize("path", _sources(PACKAGE) + _PLUGIN_SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_named_for_what_they_hold(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert path.stem not in _HOLLOW_NAMES
    assert path.parent.name not in _HOLLOW_NAMES


def test_every_plugin_has_its_parts() -> None:
    declared = re.findall(r'^\w+ = "(medldm_\w+)\.plugin"$', (ROOT / "pyproject.toml").read_text(), flags=re.M)
    assert declared
    for name in declared:
        for part in ("plugin.py", "examples.py", "README.md"):
            assert (PLUGINS / name / part).is_file(), f"{name} lacks {part}"
        assert any((PLUGINS / name / "tests").glob("test_*.py")), f"{name} has no tests"


@pytest.mark.parametrize("path", _sources(ROOT / "benchmarks"), ids=lambda path: str(path.relative_to(ROOT)))
def test_benchmarks_import_what_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("medldm"):
            module = importlib.import_module(str(node.module))
            names = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            gone = [name for name in names if find_spec(f"{node.module}.{name}") is None]
            assert not gone, f"{node.module} has no {', '.join(gone)}"


def _modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return set(output.splitlines())


@pytest.mark.parametrize(
    "code",
    [
        "import medldm",
        "import medldm.host; medldm.host.load_host()",
        "import medldm.cli.app",
    ],
)
def test_the_door_loads_no_torch(code: str) -> None:
    loaded = _modules_after(code)
    assert not loaded & {"torch", "numpy", "nibabel", "pydicom", "matplotlib", "pydantic"}


def test_every_error_code_is_documented_and_has_one_meaning_per_area() -> None:
    used = set()
    for path in _sources(PACKAGE) + _PLUGIN_SOURCES:
        used |= set(re.findall(r'"(E-[A-Z]+-\d\d)"', path.read_text(encoding="utf-8")))
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| (E-[A-Z]+-\d\d) \|", page, flags=re.M))
    assert used - documented == set(), "codes missing in docs/errors.md"
    assert documented - used == set(), "codes documented but never used"


def test_every_table_of_the_error_codes_is_set_off_and_has_a_header() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        assert section.endswith("\n")
        title, *_ = section.splitlines()
        assert re.search(r"\n\n\| code \| meaning \| what to do \|\n\| --- \| --- \| --- \|\n\| E-", section), title
    assert re.findall(r"^(?!\n).+\n## .*", page, flags=re.M) == []
