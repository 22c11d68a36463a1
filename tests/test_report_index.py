"""The index of many runs: which come first, what is left out, and that it needs no more than the folders."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from report_runs import finished
from typer.testing import CliRunner

from medldm.cli.app import app
from medldm.errors import InputRefused
from medldm.pipeline.pictures import Picture
from medldm.report import Missing, write_index
from medldm.report.figures import Size, broadest, figure
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


def test_what_was_not_checked_comes_before_what_passed(one: Path, tmp_path: Path) -> None:
    _copy(one, tmp_path / "a", chi=[1.0])
    _copy(one, tmp_path / "b", chi=[1.0], recipe={"name": "no gate"})
    found = [(path, json.loads((path / "run.json").read_text())) for path in _finished(tmp_path)]
    assert [(row.name, row.verdict.status) for row in _rows(tmp_path, found)] == [("b", "unchecked"), ("a", "passed")]
    text = write_index(tmp_path).read_text(encoding="utf-8")
    assert "1 not checked" in text and "1 passed" in text


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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are Unicode")
def test_names_of_folders_need_not_be_unicode(one: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"results-\xe9")
    _copy(one, folder / os.fsdecode(b"caf\xe9"))
    for words in ((), ("--json",)):
        result = CliRunner().invoke(app, ["report", str(folder), "--index", *words])
        assert result.exit_code == 0, result.stderr
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert 'href="caf%E9/report.html"' in text
    assert "caf\ufffd" in text


def test_runs_that_failed_their_check_are_no_measure_for_the_others(one: Path, tmp_path: Path) -> None:
    for k in range(6):
        _copy(one, tmp_path / f"failed-{k}", chi=[100.0 + k], gates_failed=["does not fit"])
        _copy(one, tmp_path / f"calm-{k}", chi=[1.0 + 0.01 * k])
    found = [(path, json.loads((path / "run.json").read_text())) for path in _finished(tmp_path)]
    rows = {row.name: row for row in _rows(tmp_path, found)}
    assert not any(rows[f"calm-{k}"].outliers for k in range(6))
    assert all(rows[f"failed-{k}"].outliers for k in range(6))


def test_scans_without_a_result_are_named_as_text(one: Path, tmp_path: Path) -> None:
    _copy(one, tmp_path / "good")
    missing = [Missing("bad/<b>scan</b>", "E-GEO-05", "a gap <script>alert(1)</script>"), Missing("scan 4", "E-X", "")]
    text = write_index(tmp_path, missing).read_text(encoding="utf-8")
    assert "2 scans without a result" in text
    assert "bad/&lt;b&gt;scan&lt;/b&gt;" in text
    assert "<script>alert" not in text
    (tmp_path / "nothing").mkdir()
    assert "1 scan without a result" in write_index(tmp_path / "nothing", missing[:1]).read_text(encoding="utf-8")


def test_few_slices_of_a_standing_plane_are_shown_from_the_front(one: Path) -> None:
    def levels(rows: int, columns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.full((rows, columns), 7, dtype=np.uint8)

    planes = {"axial": levels(64, 3), "coronal": levels(64, 3), "sagittal": levels(64, 64)}
    picture = Picture("image", (0.0, 1.0), "", planes, levels(1, 1)[None])
    assert broadest(picture) == "sagittal"
    # The strip of 3 mm by 64 mm stands in the middle of a frame that has room for letters and bar.
    drawn = figure(picture, "axial", Size(3.0, 64.0), "label", oriented=True)
    assert 'viewBox="0 0 25.000 100.000"' in drawn
    assert 'x="10.156" y="0.000" width="4.688" height="100.000"' in drawn
    assert 'viewBox="0 0 100.000 66.667"' in figure(picture, "sagittal", Size(60.0, 40.0), "label", oriented=True)


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
