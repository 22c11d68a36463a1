"""The benchmark suite: same measurement for all, one table, resumable, failures are rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from medldm.cli.app import app
from medldm.errors import UsageError
from medldm.pipeline.suite import Row, load_suite, read_rows
from medldm.pipeline.suite_table import as_csv, markdown, summary

SUITE = """
title: tiny
seeds: [1, 2]
cases:
  a: {path: a.nii.gz, modality: MR}
  b: {path: b.nii.gz, modality: MR, slices: [1, 4]}
tasks:
  - recipe: RECIPE
    cases: [a, b]
    methods: {start: start, own: recipe, impossible: {name: sart}}
"""
RECIPE = """
acquisition: {physics: identity, noise: {std: 0.5, of: absolute}}
solver: {name: cgls, iterations: 2}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    for seed, name in enumerate("ab"):
        data = np.random.default_rng(seed).normal(100, 10, (15, 16, 5)).astype(np.float32)
        nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / f"{name}.nii.gz")
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.replace("RECIPE", str(tmp_path / "tiny.yaml")))
    return path


def test_a_suite_runs_resumes_and_keeps_its_failures(suite: Path, tmp_path: Path) -> None:
    words = ["benchmark", str(suite), "--data", str(tmp_path), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "E-SUI-05: 4 of 12 rows failed" in result.stderr
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(rows) == 12
    good = [row for row in rows if not row["error"]]
    assert all(row["metrics"]["psnr"] > 0 and row["chi"] >= 0 for row in good)
    assert all("sart" in row["error"] or row["method"] != "impossible" for row in rows)
    table = (tmp_path / "out" / "results.md").read_text()
    assert "0 of 4" in table
    assert "±" in table
    with (tmp_path / "out" / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 12

    pictures = {path.name for path in (tmp_path / "out" / "pictures").glob("*.png")}
    assert len(pictures) == 4 and all(f"](pictures/{name})" in table for name in pictures)

    kept = read_rows(tmp_path / "out" / "rows.ndjson")
    assert len(kept) == 8
    again = CliRunner().invoke(app, [*words, "--resume", "--json"])
    events = [json.loads(line) for line in again.stdout.splitlines() if line.startswith('{"event": "step"')]
    assert len(events) == 4


def test_what_is_asked_otherwise_is_computed_again(suite: Path, tmp_path: Path) -> None:
    words = ["benchmark", str(suite), "--data", str(tmp_path), "-o", str(tmp_path / "out"), "--json"]
    text = suite.read_text().replace("impossible: {name: sart}", "mine: {name: tv, iterations: 9, lam: 0.01}")
    suite.write_text(text)
    assert CliRunner().invoke(app, words).exit_code == 0

    def figures() -> dict[tuple[str, str, str, int], float]:
        rows = json.loads((tmp_path / "out" / "results.json").read_text())
        return {(row["recipe"], row["case"], row["method"], row["seed"]): row["metrics"]["psnr"] for row in rows}

    before = figures()
    suite.write_text(text.replace("lam: 0.01", "lam: 0.1"))
    assert CliRunner().invoke(app, [*words, "--resume"]).exit_code == 0
    after = figures()
    assert before.keys() == after.keys() and len(after) == 12
    assert {key for key in after if after[key] != before[key]} == {key for key in after if key[2] == "mine"}


def test_tasks_of_one_recipe_are_told_apart_and_a_missing_scan_ends_no_suite(suite: Path, tmp_path: Path) -> None:
    name = tmp_path / "tiny.yaml"
    suite.write_text(f"""
seeds: [1]
cases: {{a: {{path: a.nii.gz, modality: MR}}, gone: {{path: gone.nii.gz, modality: MR}}}}
tasks:
  - {{recipe: {name}, cases: [gone, a], methods: {{own: recipe}}}}
  - {{recipe: {name}, set: [solver.iterations=1], cases: [a], methods: {{own: recipe}}}}
""")
    words = ["benchmark", str(suite), "--data", str(tmp_path), "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(app, words).exit_code == 1
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [(row["recipe"], row["case"], bool(row["error"])) for row in rows] == [
        ("tiny", "gone", True),
        ("tiny", "a", False),
        ("tiny, solver.iterations=1", "a", False),
    ]
    assert "E-IN-01" in rows[0]["error"]


def test_the_classical_method_of_a_recipe_and_a_few_slices(suite: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(RECIPE + "classical: {name: tv, lam: 3, iterations: 4}\n")
    methods = "{own: recipe, alone: classical, same: {name: tv, lam: 3, iterations: 4}}"
    suite.write_text(suite.read_text().replace("{start: start, own: recipe, impossible: {name: sart}}", methods))
    psnr = {}
    for slices in ("2", "15"):
        out = tmp_path / f"out{slices}"
        words = ["benchmark", str(suite), "--data", str(tmp_path), "-o", str(out), "--slices", slices]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        rows = json.loads((out / "results.json").read_text())
        found = {(row["case"], row["seed"], row["method"]): row["metrics"]["psnr"] for row in rows}
        for case, seed in (("a", 1), ("b", 2)):
            assert found[case, seed, "alone"] == found[case, seed, "same"] != found[case, seed, "own"]
        psnr[slices] = found["a", 1, "own"]
    assert psnr["2"] != psnr["15"]


def test_a_start_of_the_classical_solvers_making_is_its_row(suite: Path, tmp_path: Path) -> None:
    tv = "lam: 3, iterations: 4}\n"
    (tmp_path / "tiny.yaml").write_text(RECIPE + "start: {solver: tv, " + tv + "classical: {name: tv, " + tv)
    methods = "{begun: start, alone: classical, further: {name: tv, lam: 3, iterations: 4}, "
    methods += "afresh: {set: ['solver={name: tv, lam: 3, iterations: 4}', 'start={}']}}"
    suite.write_text(suite.read_text().replace("{start: start, own: recipe, impossible: {name: sart}}", methods))
    words = ["benchmark", str(suite), "--data", str(tmp_path), "-o", str(tmp_path / "out"), "--only", "b"]
    assert CliRunner().invoke(app, words).exit_code == 0
    rows = {(row.method, row.seed): row for row in read_rows(tmp_path / "out" / "rows.ndjson")}
    assert rows["alone", 1].metrics == rows["begun", 1].metrics != rows["further", 1].metrics
    # A method may begin elsewhere: here at the image of the physics, as the start solver did.
    assert rows["afresh", 1].metrics == rows["begun", 1].metrics


def test_a_method_may_change_the_recipe(suite: Path, tmp_path: Path) -> None:
    other = "{name: tv, lam: 3, iterations: 4}"
    methods = f"{{same: {{set: ['solver={other}']}}, other: {other}, own: recipe}}"
    suite.write_text(suite.read_text().replace("{start: start, own: recipe, impossible: {name: sart}}", methods))
    words = ["benchmark", str(suite), "--data", str(tmp_path), "-o", str(tmp_path / "out"), "--only", "b"]
    assert CliRunner().invoke(app, words).exit_code == 0
    rows = {(row.method, row.seed): row for row in read_rows(tmp_path / "out" / "rows.ndjson")}
    assert rows["same", 1].metrics == rows["other", 1].metrics != rows["own", 1].metrics


def test_a_method_may_have_an_operator_of_its_own(suite: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "acquisition: {physics: mri-cartesian, coils: 2, mask: {kind: uniform, acceleration: 1.5, calibration: 0.4, "
        "partial: 0.75}}\noperator: {maps: simulated}\nsolver: {name: cg-sense, iterations: 5}\n"
    )
    methods = "{own: recipe, same: {set: [solver.iterations=5]}, real: {set: [operator.image=real]}}"
    suite.write_text(suite.read_text().replace("{start: start, own: recipe, impossible: {name: sart}}", methods))
    words = ["benchmark", str(suite), "--data", str(tmp_path), "-o", str(tmp_path / "out"), "--only", "b"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    rows = {(row.method, row.seed): row for row in read_rows(tmp_path / "out" / "rows.ndjson")}
    for seed in (1, 2):
        assert rows["same", seed].metrics == rows["own", seed].metrics
        assert rows["real", seed].metrics != rows["own", seed].metrics
        assert rows["real", seed].chi != rows["own", seed].chi


def test_only_a_part(suite: Path, tmp_path: Path) -> None:
    words = ["benchmark", str(suite), "--data", str(tmp_path), "-o", str(tmp_path / "out"), "--only"]
    CliRunner().invoke(app, [*words, "b"])
    assert {row.case for row in read_rows(tmp_path / "out" / "rows.ndjson")} == {"b"}
    result = CliRunner().invoke(app, [*words, "c"])
    assert result.exit_code == 2
    assert "E-SUI-06" in result.stderr


@pytest.mark.parametrize("fault", ["cases: {a: {file: x}}", "tasks: [{recipe: r, cases: [zz], methods: {}}]"])
def test_a_faulty_suite_is_refused(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    other = "tasks: []" if fault.startswith("cases") else "cases: {}"
    path.write_text(f"{fault}\n{other}\n")
    with pytest.raises(UsageError, match="E-SUI-0"):
        load_suite(path)


def test_the_shipped_suite_is_valid() -> None:
    from medldm.host.shipped import shipped

    suite = load_suite(shipped("configs") / "suites" / "public.yaml")
    assert len(suite.cases) == 12
    # Recipes of measured scans have no truth to be held against.
    recipes = {path.stem for path in shipped("configs").glob("*.yaml") if "measured" not in path.stem}
    suites = [load_suite(path) for path in (shipped("configs") / "suites").glob("*.yaml")]
    assert {task.recipe for one in suites for task in one.tasks} == recipes


def test_mean_and_spread_are_over_cases() -> None:
    rows = [Row("r", case, "m", 1, {"psnr": value}, 1.0) for case, value in (("a", 30.0), ("b", 34.0))]
    header, lines = summary(rows)
    assert lines[0][header.index("PSNR dB")] == "32.00 ± 2.83"
    assert markdown(header, lines).startswith("| recipe | method |")


def test_a_spreadsheet_runs_nothing() -> None:
    text = as_csv([Row("r", "=HYPERLINK()", "m", 1, error="+1")])
    assert "'=HYPERLINK()" in text
    assert "'+1" in text
