"""Scans that fail: tried again, given up or halved as the reason asks, and every failure booked."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from batch_scene import Pretended, Scene, make_scans, pretended, run, scene, states

from medldm.batch.batch import check_all_done
from medldm.batch.finished import read_manifest_of
from medldm.batch.planning import begun_before
from medldm.batch.status import status
from medldm.errors import BatchFailed, InputRefused, MedldmError

__all__ = ["pretended", "scene"]


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
    del pretended.instead["scan1.nii.gz"]
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
