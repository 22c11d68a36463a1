"""docs/concepts/solvers.md is executed: its solver is installed as a plugin and passes the kit."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medldm.inference import CorrelatedNoise, Noise, SliceStack, run
from medldm.testing import SolverExample
from medldm.testing.law import NotApplicable
from medldm.testing.solver_laws import SOLVER_LAWS

PAGE = (Path(__file__).parents[1] / "docs" / "concepts" / "solvers.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution of the page, installed in a folder."""
    target = tmp_path_factory.mktemp("acme")
    files = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL))
    for title, text in files.items():
        path = target / title
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    project = tomllib.loads(files["pyproject.toml"])["project"]
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


def test_the_solver_of_the_page_passes_the_kit(folder: Path) -> None:
    command = [sys.executable, "-m", "medldm", "plugins", "check", "acme-loop", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    rows = json.loads(done.stdout.splitlines()[0])["rows"]
    assert [row for row in rows if row["status"] == "failed"] == []
    assert done.returncode == 0
    assert len(rows) > 10


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
