"""A batch from its inputs to its last scan, in one process: nothing twice, nothing half, every failure booked."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from batch_scene import Pretended, make_recipe, make_scans, pretended, run, states
from test_batch_inputs import bids

from medldm.batch import limits
from medldm.batch.batch import check_all_done
from medldm.batch.finished import read_manifest_of
from medldm.batch.index import Index
from medldm.batch.pages import write_page
from medldm.batch.planning import begun_before
from medldm.batch.status import status, verify
from medldm.batch.workplace import opened
from medldm.errors import BatchFailed, InputRefused, MedldmError, UsageError
from medldm.pipeline.events import Event

__all__ = ["pretended"]


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, Path, str]:
    """Folder of three scans, output folder, recipe."""
    return make_scans(tmp_path / "scans"), tmp_path / "out", make_recipe(tmp_path)


Scene = tuple[Path, Path, str]


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


def test_a_poison_scan_is_given_up_with_its_reason_and_retried_on_request(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene

    def poison(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("poison")

    pretended.instead["scan1.nii.gz"] = poison
    lines = run(scans, out, recipe, attempts=3)
    assert states(lines) == ["done", "failed", "done"]
    assert (lines[1].attempts, lines[1].code) == (3, "E-BUG-01")
    assert "poison" in lines[1].reason
    with pytest.raises(BatchFailed, match=r"1 of 3 scans failed: scan1: E-BUG-01") as caught:
        check_all_done(lines)
    assert caught.value.exit_code == 7
    run(scans, out, recipe, attempts=3)
    assert len(pretended.done) == 5, "it stays given up"
    pretended.instead.clear()
    source, settings = begun_before(out)
    assert [row.output for row in source.rows] == ["scan0", "scan1", "scan2"]
    assert settings.attempts == 3
    assert states(run(scans, out, recipe, attempts=3, retry=True)) == ["done"] * 3


def test_a_refusal_is_not_tried_again(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise InputRefused("E-GEO-22", "The geometry is degenerate.", fix="Repair the header.")

    pretended.instead["scan2.nii.gz"] = refuse
    lines = run(scans, out, recipe)
    assert (lines[2].state, lines[2].code, lines[2].attempts) == ("failed", "E-GEO-22", 1)


def test_missing_inputs_fail_one_by_one(scene: Scene) -> None:
    _, out, recipe = scene
    manifest = out.parent / "m.csv"
    manifest.write_text("input\nabsent.nii.gz\nscans/scan0.nii.gz\n")
    lines = run(manifest, out, recipe)
    assert [(line.state, line.code) for line in lines] == [("failed", "E-IN-01"), ("done", "")]


def test_out_of_memory_halves_the_slices_at_once(scene: Scene, pretended: Pretended) -> None:
    scans, out, _ = scene
    seen: list[Any] = []

    def too_large(source: Path, folder: Path, **arguments: Any) -> None:
        at_once = arguments["recipe"].prior.get("slices_at_once")
        seen.append(at_once)
        if at_once is None:
            raise torch.OutOfMemoryError("GPU")
        if at_once > 1:
            raise MemoryError

    pretended.instead["scan1.nii.gz"] = too_large
    lines = run(scans, out, "mri-4x", attempts=1)
    assert seen == [None, 2, 1]
    assert states(lines) == ["done"] * 3
    assert (lines[1].level, lines[1].attempts) == (2, 0)
    manifest = read_manifest_of(out / "scan1")
    assert manifest is not None
    assert manifest["memory_level"] == 2
    assert manifest["recipe"]["sha256"] == read_manifest_of(out / "scan0")["recipe"]["sha256"]  # type: ignore[index]

    def never(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    pretended.instead["scan3.nii.gz"] = never
    make_scans(scans, 4)
    for known in ("scan0", "scan1", "scan2"):
        pretended.instead.pop(f"{known}.nii.gz", None)
    lines = run(scans, out, "mri-4x", attempts=2)
    assert (lines[3].state, lines[3].code, lines[3].attempts) == ("failed", "E-MEM-02", 2)


def test_a_full_disk_stops_the_batch_and_costs_no_attempt(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene

    def full(*args: Any, **kwargs: Any) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise MedldmError("E-OUT-05", "The disk is full.") from error

    pretended.instead["scan1.nii.gz"] = full
    with pytest.raises(MedldmError, match="E-BAT-10"):
        run(scans, out, recipe)
    assert pretended.done == ["scan0.nii.gz", "scan1.nii.gz"]
    assert status(out)["counts"] == {"waiting": 2, "running": 0, "done": 1, "gate-failed": 0, "failed": 0}
    pretended.instead.clear()
    lines = run(scans, out, recipe)
    assert states(lines) == ["done"] * 3
    assert all(line.attempts == 0 for line in lines)


def test_a_failed_gate_keeps_its_result_and_counts_as_failed(scene: Scene) -> None:
    scans, out, recipe = scene
    strict = ("outputs.gates={chi_max: 1.2}", "solver={name: tv, iterations: 20, lam: 1000}")
    lines = run(scans, out, recipe, set=strict)
    assert states(lines) == ["gate-failed"] * 3
    assert (out / "scan0" / "reconstruction.nii.gz").is_file()
    assert read_manifest_of(out / "scan0")["reasons"]  # type: ignore[index]
    again = run(scans, out, recipe, set=strict)
    assert [line.code for line in again] == ["E-GATE-02"] * 3


def test_ctrl_c_ends_the_batch_which_goes_on_later(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene

    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    pretended.instead["scan1.nii.gz"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(scans, out, recipe)
    assert status(out)["counts"]["waiting"] == 2
    assert not opened(out).cancel_file.exists()
    pretended.instead.clear()
    assert states(run(scans, out, recipe)) == ["done"] * 3


def test_a_cancelled_batch_stops_and_goes_on_later(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene

    def asked(*args: Any, **kwargs: Any) -> None:
        opened(out).cancel_file.touch()

    pretended.instead["scan1.nii.gz"] = asked
    with pytest.raises(KeyboardInterrupt):
        run(scans, out, recipe)
    assert pretended.done == ["scan0.nii.gz", "scan1.nii.gz"]
    assert states(run(scans, out, recipe)) == ["done"] * 3


def test_a_scan_over_its_time_is_stopped_with_its_state_saved(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = 0.0
    monkeypatch.setattr(limits, "_LOOK_SECONDS", 0.005)
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead))
    scans, out, recipe = scene

    def hours_pass(event: Event) -> None:
        nonlocal ahead
        if event.fields.get("index") == 3 and event.stage == "step":
            ahead += 7200
            time.sleep(0.3)

    endless = {"set": ("solver={name: tv, iterations: 1000000}",), "attempts": 1}
    lines = run(scans, out, recipe, **endless, time_limit=3600.0, listeners=[hours_pass])
    assert [(line.state, line.code) for line in lines] == [("failed", "E-BAT-14")] * 3
    states_left = list((out / ".medldm-batch" / "work").rglob("*.state.safetensors"))
    assert len(states_left) == 3


def test_a_cancelled_scan_goes_on_from_its_last_step(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "_LOOK_SECONDS", 0.005)
    scans, out, recipe = scene
    slow = {"set": ("solver={name: tv, iterations: 40}",)}
    run(scans, tmp_path / "calm", recipe, **slow)
    heard: list[str] = []

    def cancel(event: Event) -> None:
        heard.append(event.message)
        if event.fields.get("index") == 7 and heard.count(event.message) == 1:
            opened(out).cancel_file.touch()
            time.sleep(0.3)

    with pytest.raises(KeyboardInterrupt):
        run(scans, out, recipe, listeners=[cancel], **slow)
    assert "state after step 7 saved" in heard
    assert "step 8 of 40" not in heard
    assert states(run(scans, out, recipe, listeners=[cancel], **slow)) == ["done"] * 3
    assert heard.count("going on from the saved state") == 1
    assert (out / "scan0" / "reconstruction.nii.gz").read_bytes() == (
        tmp_path / "calm" / "scan0" / "reconstruction.nii.gz"
    ).read_bytes()


def test_a_scan_over_its_memory_is_stopped(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(limits, "resident_bytes", lambda: 9 * 2**40)
    scans, out, recipe = scene
    more = {"set": ("solver={name: tv, iterations: 1000000}",), "attempts": 1, "memory_limit": 2**40}
    assert [(line.state, line.code) for line in run(scans, out, recipe, **more)] == [("failed", "E-BAT-15")] * 3


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


def test_a_coordinator_that_died_leaves_its_scans_to_the_end_of_the_line(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene

    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    pretended.instead["scan0.nii.gz"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(scans, out, recipe, attempts=1)
    pretended.instead.clear()
    pretended.done.clear()

    def killed() -> None:
        index = Index(opened(out).index_file)
        index.update(index.scans()[0].key, state="running")
        index.close()

    killed()
    assert states(run(scans, out, recipe, attempts=1)) == ["done"] * 3
    assert pretended.done == ["scan1.nii.gz", "scan2.nii.gz", "scan0.nii.gz"]
    shutil.rmtree(out / "scan0")
    for _ in range(2):
        killed()
        with pytest.raises(KeyboardInterrupt):
            pretended.instead["scan0.nii.gz"] = interrupt
            run(scans, out, recipe, attempts=1)
    killed()
    assert run(scans, out, recipe, attempts=1)[0].code == "E-BAT-16", "in work when it died three times"


def test_a_second_coordinator_is_refused_and_named_the_first_and_a_dead_one_is_followed(
    scene: Scene, pretended: Pretended
) -> None:
    scans, out, recipe = scene
    (out / ".medldm-batch").mkdir(parents=True)
    lock = out / ".medldm-batch" / "coordinator.lock"
    code = (
        "import sys, time; from pathlib import Path; from medldm.batch.lock import CoordinatorLock\n"
        f"with CoordinatorLock(Path({str(lock)!r})):\n  print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=rf"E-BAT-07.*process {first.pid} on {socket.gethostname()}"):
            run(scans, out, recipe)
        assert status(out)["coordinator"] == {"host": socket.gethostname(), "pid": first.pid}
        first.kill()
    told: list[str] = []
    assert states(run(scans, out, recipe, say=told.append)) == ["done"] * 3
    assert "taken over" in told[0]
    assert status(out)["coordinator"] is None


def test_a_coordinator_on_another_machine_is_known_by_its_beat(tmp_path: Path) -> None:
    import threading

    from medldm.batch.lock import CoordinatorLock

    lock = tmp_path / "lock"
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "beat": 3}).ljust(256))
    beating = threading.Timer(
        0.3, lambda: lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "beat": 4}).ljust(256))
    )
    beating.start()
    with pytest.raises(UsageError, match=r"E-BAT-07.*elsewhere"), CoordinatorLock(lock, patience=5):
        pass
    beating.join()
    with CoordinatorLock(lock, patience=0.3):
        assert json.loads(lock.read_text())["host"] == socket.gethostname()


def test_clocks_that_jump_disturb_nothing(scene: Scene, pretended: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    scans, out, recipe = scene
    jumps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 * (-1) ** next(jumps))

    def once(source: Path, *args: Any, **kwargs: Any) -> None:
        if pretended.done.count(source.name) == 1:
            raise RuntimeError("try again")

    pretended.instead["scan1.nii.gz"] = once
    lines = run(scans, out, recipe, backoff=0.01)
    assert states(lines) == ["done"] * 3
    assert 0 <= (lines[1].seconds or 0.0) < 60


def test_status_of_very_many_scans_is_there_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".medldm-batch").mkdir(parents=True)
    index = Index(out / ".medldm-batch" / "index.sqlite")
    index.replace_all((f"key{n:06d}", n, f"scan{n}", "{}", 1.0) for n in range(100_000))
    index.update_many((f"key{n:06d}", {"state": "failed", "code": "E-X-01"}) for n in range(2000))
    index.close()
    begun = time.process_time()
    found = status(out)
    assert time.process_time() - begun < 0.5
    assert found["counts"] == {"waiting": 98_000, "running": 0, "done": 0, "gate-failed": 0, "failed": 2000}
    assert (len(found["failures"]), found["failures_left_out"]) == (1000, 1000)


def test_no_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="E-BAT-12"):
        status(tmp_path)


def test_the_page_of_a_batch_names_the_scans_that_were_given_up(scene: Scene, pretended: Pretended) -> None:
    scans, out, recipe = scene

    def poison(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("poison")

    pretended.instead["scan1.nii.gz"] = poison
    run(scans, out, recipe, attempts=1)
    page = write_page(out).read_text(encoding="utf-8")
    assert "1 scan without a result" in page
    assert "<td>E-BUG-01</td>" in page
