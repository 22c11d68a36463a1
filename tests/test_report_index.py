"""The index of many runs: which come first, what is left out, and that it needs no more than the folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from report_runs import finished
from typer.testing import CliRunner

from medldm.cli.app import app
from medldm.errors import InputRefused
from medldm.report import write_index
from medldm.report.index import _distance, _finished, _rows


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "out"
    finished(folder)
    return folder


def _copy(one: Path, to: Path, **changes: object) -> None:
    shutil.copytree(one, to)
    record = json.loads((one / "run.json").read_text())
    (to / "run.json").write_text(json.dumps({**record, **changes}))


def test_failed_runs_come_first_then_outliers_then_warnings(one: Path, tmp_path: Path) -> None:
    for k in range(8):
        _copy(one, tmp_path / f"calm-{k}", chi=[1.0 + 0.01 * k])
    _copy(one, tmp_path / "far", chi=[3.0])
    _copy(one, tmp_path / "warned", chi=[1.02], warnings=["look here"])
    _copy(one, tmp_path / "failed", chi=[1.03], gates_failed=["does not fit"])
    found = [(path, json.loads((path / "run.json").read_text())) for path in _finished(tmp_path)]
    rows = _rows(tmp_path, found)
    assert [row.name for row in rows[:3]] == ["failed", "far", "warned"]
    assert rows[1].outliers == ("chi is far from the others",)
    assert all(not row.outliers for row in rows if row.name.startswith("calm"))


def test_outliers_are_told_from_the_median_of_enough_others() -> None:
    assert _distance(3.0, [1.0, 1.1, 0.9, 1.0]) == 0.0
    assert _distance(3.0, [1.0, 1.1, 0.9, 1.05, 0.95, 3.0]) > 3.5
    assert _distance(1.0, [1.0] * 9) == 0.0
    assert _distance(None, [1.0] * 9) == 0.0


def test_folders_that_are_not_finished_are_left_out(one: Path, tmp_path: Path) -> None:
    _copy(one, tmp_path / "sub" / "scan")
    _copy(one, tmp_path / "scan.part-123")
    _copy(one, tmp_path / ".hidden")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{ cut")
    text = write_index(tmp_path).read_text(encoding="utf-8")
    assert "1 reconstruction</h1>" in text
    assert 'href="sub/scan/report.html"' in text
    assert "data:image/jpeg" in text


def test_missing_reports_are_made_and_missing_pictures_borne(one: Path, tmp_path: Path) -> None:
    _copy(one, tmp_path / "a")
    _copy(one, tmp_path / "b")
    (tmp_path / "a" / "report.html").unlink()
    (tmp_path / "b" / "report.html").unlink()
    (tmp_path / "b" / "pictures.npz").write_bytes(b"no zip")
    text = write_index(tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / "a" / "report.html").is_file()
    assert 'href="b/"' in text


def test_names_of_folders_are_text_and_addresses(one: Path, tmp_path: Path) -> None:
    _copy(one, tmp_path / 'x" onclick="alert(1)" #?.%')
    text = write_index(tmp_path).read_text(encoding="utf-8")
    assert ' onclick="' not in text
    assert "x%22%20onclick%3D%22alert%281%29%22%20%23%3F.%25/report.html" in text


def test_an_index_over_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="E-REP-03"):
        write_index(tmp_path)


def test_the_commands(one: Path, tmp_path: Path) -> None:
    _copy(one, tmp_path / "a")
    again = CliRunner().invoke(app, ["report", str(tmp_path / "a"), "-o", str(tmp_path / "r.html"), "--json"])
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["path"] == str(tmp_path / "r.html")
    index = CliRunner().invoke(app, ["report", str(tmp_path), "--index"])
    assert index.exit_code == 0, index.stderr
    assert (tmp_path / "index.html").is_file()
    assert CliRunner().invoke(app, ["report", str(tmp_path), "--index", "-o", "x"]).exit_code == 2
    assert CliRunner().invoke(app, ["report", str(tmp_path / "none")]).exit_code == 3
