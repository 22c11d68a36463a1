"""docs/concepts/solvers.md is executed: its solvers are built, installed as a plugin and pass the kit."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medldm.inference import CorrelatedNoise, Noise, SliceStack, run
from medldm.testing import SolverExample
from medldm.testing.law import NotApplicable
from medldm.testing.solver_laws import SOLVER_LAWS, law_samples_keep_their_numbers

PAGE = (Path(__file__).parents[1] / "docs" / "concepts" / "solvers.md").read_text(encoding="utf-8")


FILES = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page."""
    target = tmp_path_factory.mktemp("source")
    for title, text in FILES.items():
        path = target / title
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    return target


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution of the page, installed in a folder: built as the page says where its builder is at hand."""
    target = tmp_path_factory.mktemp("installed")
    if importlib.util.find_spec("hatchling"):
        build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
        done = subprocess.run(
            [sys.executable, "-c", build, str(target)], cwd=source, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        (wheel,) = target.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(target)
        return target
    shutil.copytree(source / "acme_loop", target / "acme_loop")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = target / "acme_loop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{key} = {value}\n" for key, value in project["entry-points"]["medldm"].items())
    (info / "entry_points.txt").write_text(f"[medldm]\n{points}")
    return target


@pytest.fixture(scope="module")
def example(folder: Path):
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("acme_loop.examples").loop()
    finally:
        sys.path.remove(str(folder))


def test_a_builder_finds_the_package_of_the_page() -> None:
    """What the builder that the page names goes by, also where it is not installed (hatchling's guess of a package)."""
    settings = tomllib.loads(FILES["pyproject.toml"])
    assert settings["build-system"] == {"requires": ["hatchling"], "build-backend": "hatchling.build"}
    package = settings["project"]["name"].replace("-", "_")
    assert f"{package}/__init__.py" in FILES
    for module in settings["project"]["entry-points"]["medldm"].values():
        assert module.replace(".", "/") + ".py" in FILES
    assert {title.partition("/")[0] for title in FILES} == {package, "pyproject.toml"}
    assert len(FILES) == 6, "as many as the page says"


def test_the_commands_of_the_page_are_commands(folder: Path) -> None:
    (block,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    install, check, reconstruct = (line.partition("#")[0].split() for line in block.splitlines())
    assert install == ["pip", "install", "."]
    assert check == ["medldm", "plugins", "check", "loop"]
    assert reconstruct[:2] == ["medldm", "reconstruct"]
    assert reconstruct[reconstruct.index("--set") + 1] == "solver.name=acme-loop"
    (installed,) = importlib.metadata.distributions(path=[str(folder)])
    assert {point.name: point.value for point in installed.entry_points} == {"loop": "acme_loop.plugin"}


def test_the_solvers_of_the_page_pass_the_kit(folder: Path) -> None:
    command = [sys.executable, "-m", "medldm", "plugins", "check", "loop", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    rows = json.loads(done.stdout.splitlines()[0])["rows"]
    assert [row for row in rows if row["status"] == "failed"] == []
    assert done.returncode == 0
    assert {row["component"] for row in rows} >= {"solvers/acme-loop", "solvers/acme-best-of"}
    assert len(rows) > 20


@pytest.mark.parametrize("name", ["dpm++2m", "gradient-estimation"])
def test_its_memory_is_part_of_the_state(example: SolverExample, name: str) -> None:
    """With little new noise, so that the integrators differ; which tolerance they meet is not the page's word."""
    other = replace(example, solver=replace(example.solver, integrator=name, zeta=0.1), tolerance=0.5)
    for law in SOLVER_LAWS:
        try:
            law(other)
        except NotApplicable:
            continue
    found = error(other)
    assert found != error(replace(other, solver=replace(other.solver, integrator="ddim")))


@pytest.fixture(scope="module")
def best_of(example: SolverExample) -> SolverExample:
    made: SolverExample = importlib.import_module("acme_loop.examples").best_of()
    return made


def test_candidates_that_are_samples_of_other_numbers_fail_the_kit(
    best_of: SolverExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the page says: the easy mistake of a solver around a solver."""
    law_samples_keep_their_numbers(best_of)
    monkeypatch.setattr(Noise, "child", Noise.from_sample)
    with pytest.raises(AssertionError, match="drawn alone"):
        law_samples_keep_their_numbers(best_of)
    monkeypatch.setattr(Noise, "child", lambda noise, c: noise.from_sample(noise.first_sample + c))
    with pytest.raises(AssertionError, match="two samples draw the same noise"):
        law_samples_keep_their_numbers(best_of)


def test_the_best_candidate_is_as_good_as_each(best_of: SolverExample) -> None:
    start = torch.cat((best_of.start, best_of.start))
    best = run(best_of.solver.solve(best_of.likelihood, best_of.prior, start, Noise(1))).estimate
    loop = super(type(best_of.solver), best_of.solver)
    runs = [run(loop.solve(best_of.likelihood, best_of.prior, start, Noise(1).child(c))).estimate for c in range(2)]
    energies = torch.stack([best_of.likelihood.energy(u) for u in runs])
    torch.testing.assert_close(best_of.likelihood.energy(best), energies.amin(0))
    assert not torch.equal(best[0], best[1])


def error(example: SolverExample, noise: Noise | None = None) -> float:
    steps = example.solver.solve(example.likelihood, example.prior, example.start, noise or Noise(1))
    return float((run(steps).estimate - example.truth).norm() / example.truth.norm())


def test_what_the_page_says_of_its_example(example: SolverExample) -> None:
    truth, likelihood = example.truth, example.likelihood
    alone = likelihood.measurement / likelihood.operator(torch.ones_like(likelihood.measurement))
    assert float((alone - truth).norm() / truth.norm()) == pytest.approx(0.09, abs=0.005)
    assert float((0.3 - truth).norm() / truth.norm()) == pytest.approx(0.13, abs=0.005)
    assert example.tolerance == 0.07
    assert error(example) < 0.07
    for lam in (0.1, 10.0):
        assert error(replace(example, solver=replace(example.solver, lam=lam))) > 0.07


def test_it_runs_with_noise_that_slices_share(example: SolverExample) -> None:
    places = tuple(float(z) for z in range(4))
    assert error(example, CorrelatedNoise.of(Noise(1), 3.0, SliceStack(4, 1, places))) < 0.09
