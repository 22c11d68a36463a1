"""What is said of a batch: its status, at once however many the scans, and its page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from batch_scene import Pretended, Scene, pretended, run, scene

from medldm.batch.index import Index
from medldm.batch.pages import write_page
from medldm.batch.status import status
from medldm.errors import UsageError

__all__ = ["pretended", "scene"]


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
