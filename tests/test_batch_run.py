"""A batch from its inputs to its last scan, in one process: nothing twice, nothing half, nobody's files replaced."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from batch_scene import Pretended, Scene, bids, make_recipe, make_scans, pretended, run, scene, states

from medldm.batch.finished import read_manifest_of
from medldm.batch.planning import begun_before
from medldm.batch.status import status, verify
from medldm.errors import UsageError

__all__ = ["pretended", "scene"]


def test_real_scans_in_process_equal_single_runs(scene: Scene) -> None:
    from medldm.data import ReadRequest
    from medldm.pipeline.reconstruct import reconstruct
    from medldm.report import report_page

    scans, out, recipe = scene
    lines = run(scans, out, recipe)
    assert states(lines) == ["done"] * 3
    alone = out.parent / "alone"
    mr = ReadRequest(modality="MR")
    reconstruct(scans / "scan1.nii.gz", alone, recipe=recipe, simulate=True, read=mr, pages=[report_page])
    image = "reconstruction.nii.gz"
    assert (out / "scan1" / image).read_bytes() == (alone / image).read_bytes()
    assert "scan1/report.html" in (out / "index.html").read_text()
    manifest = read_manifest_of(out / "scan1")
    assert manifest is not None
    assert set(manifest["files"]) == {f"scan1/{file.name}" for file in alone.iterdir()}
    assert manifest["job"] == lines[1].job
    assert verify(out) == []
    assert not any((out / ".medldm-batch" / "work").iterdir())


def test_short_scans_come_first_and_nothing_is_computed_twice(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene
    shutil.move(scans / "scan2.nii.gz", scans / "a-long-one.nii.gz")
    run(scans, out, recipe)
    assert pretended.done == ["scan0.nii.gz", "scan1.nii.gz", "a-long-one.nii.gz"]
    run(scans, out, recipe)
    assert len(pretended.done) == 3
    make_scans(scans, 5)
    lines = run(scans, out, recipe)
    assert len(pretended.done) == 3 + 3, "two new scans, and one under its old name"
    assert states(lines) == ["done"] * 6


def test_a_touched_scan_is_not_computed_again_a_changed_one_is(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene
    run(scans, out, recipe)
    os.utime(scans / "scan0.nii.gz", ns=(1, 1))
    assert states(run(scans, out, recipe)) == ["done"] * 3
    assert len(pretended.done) == 3
    shutil.copy(scans / "scan1.nii.gz", scans / "scan0.nii.gz")
    lines = run(scans, out, recipe)
    assert (lines[0].state, lines[0].code) == ("failed", "E-BAT-08")
    assert states(run(scans, out, recipe, overwrite=True)) == ["done"] * 3
    assert len(pretended.done) == 4


def test_a_changed_recipe_is_a_new_job(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene
    run(scans, out, recipe)
    with pytest.raises(UsageError, match=r"E-BAT-08.*3 outputs"):
        run(scans, out, recipe, set=("solver.iterations=3",))
    assert len(pretended.done) == 3
    run(scans, out, recipe, set=("solver.iterations=3",), overwrite=True)
    assert len(pretended.done) == 6


def test_files_of_others_are_never_replaced(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene
    (out / "scan1").mkdir(parents=True)
    (out / "scan1" / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="E-BAT-08"):
            run(scans, out, recipe, overwrite=overwrite)
    with pytest.raises(UsageError, match="E-OUT-01"):
        run(scans, scans / "out", recipe)
    manifest = out.parent / "m.csv"
    manifest.write_text("input,output\nscans/scan0.nii.gz,a\n")
    (out / "a").mkdir()
    assert states(run(manifest, out, recipe)) == ["done"], "an empty folder is in nobody's way"
    manifest.write_text("input,output\nscans/scan1.nii.gz,a/b\n")
    with pytest.raises(UsageError, match="E-BAT-08"):
        run(manifest, out, recipe)
    assert (out / "scan1" / "thesis.txt").read_text() == "mine"


def test_the_index_is_made_again_from_the_manifests(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene
    run(scans, out, recipe)
    for file in (out / ".medldm-batch").glob("index.sqlite*"):
        file.unlink()
    assert status(out)["index"] == "missing"
    assert status(out)["counts"]["done"] == 3
    with pytest.raises(UsageError, match="E-BAT-12"):
        begun_before(out)
    assert states(run(scans, out, recipe)) == ["done"] * 3
    assert len(pretended.done) == 3
    assert status(out)["index"] == "ok"


def test_a_damaged_result_is_found_and_made_again(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene
    run(scans, out, recipe)
    (out / "scan1" / "reconstruction.nii.gz").write_bytes(b"bit rot")
    assert verify(out) == [{"name": "scan1", "files": ["scan1/reconstruction.nii.gz"]}]
    shutil.rmtree(out / "scan1")
    assert states(run(scans, out, recipe)) == ["done"] * 3
    assert verify(out) == []


def test_anonymous_names_are_hashes_and_the_index_lies_elsewhere(
    scene: Scene, pretended: Pretended, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    scans, out, recipe = scene
    lines = run(scans, out, recipe, anonymous=True)
    assert states(lines) == ["done"] * 3
    assert sorted(line.name for line in lines) == sorted(line.job[:16] for line in lines)
    assert all((out / line.name / "manifest.json").is_file() for line in lines)
    everything = b"".join(file.read_bytes() for file in out.rglob("*") if file.is_file())
    assert b"scan0" not in everything
    assert not any("scan" in file.name for file in out.rglob("*"))
    shutil.rmtree(tmp_path / "state")
    assert states(run(scans, out, recipe, anonymous=True)) == ["done"] * 3
    assert len(pretended.done) == 3, "the manifests know by the marks of their inputs"
    run(scans, out, recipe, anonymous=True, set=("solver.iterations=3",))
    assert len(list(out.glob("*/manifest.json"))) == 6, "another job has another name"


def test_bids_in_gives_derivatives_out(tmp_path: Path, pretended: Pretended) -> None:
    raw, out = bids(tmp_path), tmp_path / "derivatives"
    lines = run(raw, out, make_recipe(tmp_path))
    assert states(lines) == ["done"] * 2
    image = out / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_desc-medldm_T1w.nii.gz"
    assert image.is_file()
    sidecar = json.loads(image.with_name("sub-01_ses-a_desc-medldm_T1w.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz"]
    record = out / "medldm" / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1w"
    files = json.loads((record / "run.json").read_text())["files"]
    assert all((record / file).is_file() for file in files)
    assert verify(out) == []
    assert states(run(raw, out, make_recipe(tmp_path))) == ["done"] * 2
    assert len(pretended.done) == 2
