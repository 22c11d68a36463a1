"""One coordinator at a time: a second is refused, a dead one is followed, and what it left is not lost."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from batch_scene import Pretended, Scene, pretended, run, scene, states

from medldm.batch.index import Index
from medldm.batch.status import status
from medldm.batch.workplace import opened
from medldm.errors import UsageError

__all__ = ["pretended", "scene"]


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
