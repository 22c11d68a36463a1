"""Batches on worker processes, one of which is killed; what follows from each outcome."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from batch_scene import make_recipe, make_scans, run, states

from medldm.batch.batch import Watchers, Workforce, run_batch
from medldm.batch.claim import Claim, begun, state_mark, verdict, write_verdict
from medldm.batch.index import Scan
from medldm.batch.order import Order, Outcome
from medldm.batch.retry import after
from medldm.batch.row import Row
from medldm.batch.settings import Settings
from medldm.batch.source import find_source
from medldm.batch.status import verify
from medldm.batch.workplace import Workplace, on_network
from medldm.host import load_host


def workers_of_this_process() -> list[int]:
    """Processes below this one that run a worker."""
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        for child in task.read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def test_a_killed_worker_costs_nothing_but_its_scan_in_work(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    if not Path("/proc/self/task").is_dir():
        pytest.skip("needs /proc to find the worker")
    scans, recipe, out = make_scans(tmp_path / "scans", 2), make_recipe(tmp_path), tmp_path / "out"
    run(scans, tmp_path / "calm", recipe)
    host, over = load_host(), threading.Event()
    hits: list[int] = []

    def kill_one() -> None:
        while not over.wait(0.01):
            if any(out.glob(".medldm-batch/work/*/begun")) and (workers := workers_of_this_process()):
                hits.append(workers[0])
                os.kill(workers[0], signal.SIGKILL)
                return

    killer = threading.Thread(target=kill_one)
    killer.start()
    settings = Settings(recipe=recipe, simulate=True, modality="MR", backoff=0.0)
    try:
        lines = run_batch(host, find_source(host, scans), out, settings, Workforce(1, "local"), Watchers())
    finally:
        over.set()
        killer.join()
    assert states(lines) == ["done"] * 2
    assert len(hits) == 1
    assert sum(line.attempts for line in lines) == 1
    assert verify(out) == []
    for name in ("scan0", "scan1"):
        file = Path(name) / "reconstruction.nii.gz"
        assert (out / file).read_bytes() == (tmp_path / "calm" / file).read_bytes()


@pytest.fixture
def order(tmp_path: Path) -> Order:
    recipe = {"name": "x", "sections": {"acquisition": {"physics": "identity"}, "solver": {"name": "cgls"}}}
    row = Row(tmp_path / "a.nii.gz", "a")
    return Order(row.key, "token", 1, 0, row, recipe, {}, Settings(attempts=2, backoff=3.0), Workplace(tmp_path))


def scan(**fields: Any) -> Scan:
    plain: dict[str, Any] = dict.fromkeys(Scan.__dataclass_fields__, "")
    plain |= {"number": 1, "cost": 1.0, "state": "running", "attempts": 0, "crashes": 0, "level": 0, "seconds": None}
    return Scan(**(plain | fields))


def test_what_follows_from_a_lost_worker(order: Order) -> None:
    lost = Outcome(order.key, order.token, "lost", "E-BAT-16", "gone")
    not_begun = after(scan(), order, lost, "")
    assert (not_begun.fields, not_begun.wait) == ({"state": "waiting"}, 0.0)

    with Claim(order.work, order.token) as claim:
        assert claim.held
        assert begun(order.work) == order.token
    first = after(scan(), order, lost, state_mark(order.work))
    assert (first.fields["state"], first.fields["attempts"], first.wait) == ("waiting", 1, 3.0)
    last = after(scan(attempts=1), order, lost, state_mark(order.work))
    assert (last.fields["state"], last.fields["code"], last.wait) == ("failed", "E-BAT-16", None)

    before = state_mark(order.work)
    (order.work / "result.state.safetensors").write_bytes(b"further on")
    got_on = after(scan(attempts=1), order, lost, before)
    assert (got_on.fields, got_on.wait) == ({"state": "waiting"}, 0.0), "it saved its state since"
    stuck = after(scan(attempts=1), order, lost, state_mark(order.work))
    assert stuck.fields["state"] == "failed"

    write_verdict(order.work, "E-BAT-14", "too long")
    assert after(scan(attempts=1), order, lost, "").fields["code"] == "E-BAT-14"
    many = Outcome(order.key, order.token, "lost", "E-BAT-16", "gone", deaths=4)
    with Claim(order.work, order.token):
        assert verdict(order.work) is None, "a new attempt forgets the verdict on the last"
    assert after(scan(), order, many, state_mark(order.work)).fields["attempts"] == 4


def test_waits_grow_and_end(order: Order) -> None:
    failed = Outcome(order.key, order.token, "failed", "E-BUG-01", "x")
    patient = Order(**{**order.__dict__, "settings": Settings(attempts=99, backoff=3.0)})
    waits = [after(scan(attempts=n), patient, failed, "").wait for n in range(7)]
    assert waits == [3.0, 6.0, 12.0, 24.0, 48.0, 60.0, 60.0]


def test_two_processes_never_work_on_one_scan(tmp_path: Path) -> None:
    with Claim(tmp_path / "work", "a") as first, Claim(tmp_path / "work", "b") as second:
        assert (first.held, second.held) == (True, False)
        assert begun(tmp_path / "work") == "a"
    with Claim(tmp_path / "work", "c") as third:
        assert third.held


def test_leftovers_go_and_the_state_stays(tmp_path: Path) -> None:
    with Claim(tmp_path, "a") as claim:
        (tmp_path / "result.part-1" / "deep").mkdir(parents=True)
        (tmp_path / "result.part-1" / "deep" / "x").touch()
        (tmp_path / "result").mkdir()
        (tmp_path / "result" / "abc.state.safetensors").touch()
        (tmp_path / "result" / "half").touch()
        claim.clear_results()
        assert sorted(path.name for path in tmp_path.rglob("*")) == [
            "abc.state.safetensors",
            "begun",
            "claim",
            "result",
        ]
        claim.forget_state()
        assert state_mark(tmp_path) == ""


def test_an_order_travels_as_json(order: Order) -> None:
    import json

    assert Order.from_dict(json.loads(json.dumps(order.as_dict()))) == order


def test_local_disks_are_known(tmp_path: Path) -> None:
    assert not on_network(tmp_path)
