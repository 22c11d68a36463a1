"""Batches and scans that are stopped, by a person, the clock or the memory, and what goes on later."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from batch_scene import Pretended, Scene, pretended, run, scene, states

from medldm.batch import limits
from medldm.batch.status import status
from medldm.batch.workplace import opened
from medldm.pipeline.events import Event

__all__ = ["pretended", "scene"]


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
