"""``medldm batch``: commands, exit codes, the display for people and for programs."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_scene import Pretended, make_recipe, make_scans, pretended
from typer.testing import CliRunner

from medldm.batch.coordinator import Standing
from medldm.batch.index import State
from medldm.batch.lock import CoordinatorLock
from medldm.batch.order import Outcome
from medldm.batch.watch import Arrivals
from medldm.batch.workplace import opened
from medldm.cli.app import app
from medldm.cli.batch_display import BatchDisplay
from medldm.cli.counts import throughput
from medldm.errors import UsageError
from medldm.host import load_host

__all__ = ["pretended"]


@pytest.fixture(autouse=True)
def own_signal() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    make_scans(tmp_path / "scans")
    recipe = make_recipe(tmp_path)
    return ["batch", "run", str(tmp_path / "scans"), "-o", str(tmp_path / "out"), "-r", recipe, "--simulate"]


def call(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_ways_of_a_batch(words: list[str], tmp_path: Path, pretended: Pretended) -> None:
    out = str(tmp_path / "out")
    plan = call(*words, "--dry-run", "--json", "--save-manifest", str(tmp_path / "m.csv"))
    assert plan.exit_code == 0, plan.stderr
    assert [row["output"] for row in lines(plan.stdout)[0]["rows"]] == ["scan0", "scan1", "scan2"]
    one = ["--dry-run", "--include", "*1.nii.gz"]
    assert lines(call(*words, *one, "--json").stdout)[0]["not_included"] == 2
    assert "\n2 not included\n" in call(*words, *one).stdout
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "m.csv").read_text().count("\n") == 4

    def poison(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("poison")

    pretended.instead["scan1.nii.gz"] = poison
    result = call(*words, "--json", "--attempts", "1")
    assert result.exit_code == 7
    told = lines(result.stdout)
    assert [one["event"] for one in told] == ["scan", "scan", "scan", "note", "batch", "error"]
    assert told[-1]["code"] == "E-BAT-09"
    assert "scan1: E-BUG-01" in told[-1]["what"]

    result = call("batch", "status", out)
    assert result.exit_code == 0
    assert "2 done, 1 failed; nobody is at work" in result.stdout
    assert "E-BUG-01: " in result.stdout
    assert "poison" in result.stdout
    found = lines(call("batch", "status", out, "--json", "--rows", "--verify").stdout)[0]
    assert found["failures"][0]["code"] == "E-BUG-01"
    assert [row["state"] for row in found["rows"]] == ["done", "failed", "done"]
    assert found["damaged"] == []

    pretended.instead.clear()
    result = call("batch", "retry", out)
    assert result.exit_code == 0, result.stderr
    assert "3 of 3 done" in result.stderr
    assert call("batch", "cancel", out).stdout == "nobody is at work there\n"
    assert "0 folders removed" in call("batch", "clean", out).stdout
    (tmp_path / "out" / "scan0" / "run.json").write_text("{}")
    assert call("batch", "status", out, "--verify").exit_code == 1


def test_failures_are_shown_as_codes_alone_where_names_are_anonymous(
    words: list[str], tmp_path: Path, pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def tell(source: Path, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"{source} is bad")

    pretended.instead["scan1.nii.gz"] = tell
    for extra in ([], ["--json"]):
        result = call(*words, "--anonymous-names", "--attempts", "1", *extra)
        assert result.exit_code == 7
        assert "E-BUG-01" in result.stdout + result.stderr
        assert "scan1.nii.gz" not in result.stdout + result.stderr
    assert "scan1.nii.gz" not in call("batch", "status", str(tmp_path / "out"), "--json", "--rows").stdout


@pytest.mark.parametrize(
    ("extra", "code", "word"),
    [
        (["--workers", "none"], 2, "E-BAT-20"),
        (["--time-limit", "soon"], 2, "E-BAT-20"),
        (["--memory-limit", "much"], 2, "E-RUN-10"),
        (["--cluster", "slurm", "--slurm", "walltme=1"], 2, "walltime"),
        (["-r", "no-such"], 2, "E-RCP-01"),
    ],
)
def test_options_that_cannot_be_are_refused(words: list[str], extra: list[str], code: int, word: str) -> None:
    more = ["--dry-run"] if "--slurm" in extra else []
    result = call(*words, *extra, *more)
    assert result.exit_code == code, result.stderr
    assert word in result.stderr


def test_the_job_script_of_slurm(words: list[str]) -> None:
    pytest.importorskip("dask_jobqueue")
    options = ["walltime=02:00:00", "memory=8GB", "cores=6", "gres=gpu:1", "queue=night", "setup=module load python"]
    more = [word for option in options for word in ("--slurm", option)]
    result = call(*words, "--dry-run", "--cluster", "slurm", "--workers", "3", *more)
    assert result.exit_code == 0, result.stderr
    for line in ("#SBATCH -p night", "#SBATCH --gres=gpu:1", "#SBATCH -t 02:00:00", "module load python"):
        assert line in result.stdout
    assert "--nthreads 1" in result.stdout
    assert "3 times this job" in result.stdout


def test_a_missing_extra_is_named(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medldm.batch.cluster.find_spec", lambda name: None)
    result = call(*words, "--workers", "2")
    assert result.exit_code == 4
    assert "medldm[cluster]" in result.stderr


def test_cancel_stops_a_batch_in_another_process(tmp_path: Path) -> None:
    scans, recipe, out = make_scans(tmp_path / "scans"), make_recipe(tmp_path), tmp_path / "out"
    words = ["batch", "run", str(scans), "-o", str(out), "-r", recipe, "--simulate", "--modality", "MR"]
    endless = ["--set", "solver={name: tv, iterations: 1000000}", "-q", "--save-every", "0.1"]
    with subprocess.Popen([sys.executable, "-m", "medldm", *words, *endless]) as running:
        waited = threading.Event()
        for _ in range(600):
            if any(out.glob(".medldm-batch/work/*/result.state.safetensors")):
                break
            waited.wait(0.1)
        refused = call(*words, *endless)
        assert refused.exit_code == 2
        assert f"process {running.pid}" in refused.stderr
        assert call("batch", "clean", str(out)).exit_code == 2
        assert call("batch", "cancel", str(out), "--wait", "60").stdout == "stopped\n"
        assert running.wait() == 130
    assert not opened(out).cancel_file.exists()
    left = list(out.glob(".medldm-batch/work/*"))
    assert len(left) == 1
    assert "1 state kept" in call("batch", "clean", str(out)).stdout
    assert "1 folder removed" in call("batch", "clean", str(out), "--states").stdout


def test_scans_are_taken_when_they_have_stopped_growing(tmp_path: Path) -> None:
    now = 0.0
    arrivals = Arrivals(load_host(), tmp_path, quiet=60, clock=lambda: now)
    assert list(arrivals.whole()) == []
    make_scans(tmp_path, 1)
    assert list(arrivals.whole()) == []
    now = 50.0
    with (tmp_path / "scan0.nii.gz").open("ab") as file:
        file.write(b"more")
    assert list(arrivals.whole()) == []
    now = 100.0
    assert list(arrivals.whole()) == []
    now = 111.0
    assert [place.path.name for place in arrivals.whole()] == ["scan0.nii.gz"]
    assert list(arrivals.whole()) == []
    make_scans(tmp_path, 1)
    now = 120.0
    assert list(arrivals.whole()) == []
    now = 180.0
    assert len(list(arrivals.whole())) == 1, "it changed, and is whole again"


def test_a_watched_folder_is_reconstructed(tmp_path: Path, pretended: Pretended) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    arriving = threading.Timer(0.5, lambda: make_scans(incoming, 2))
    arriving.start()
    words = ["--settle", "0.3", "--every", "0.1", "--idle", "1.5", "-r", make_recipe(tmp_path), "--simulate"]
    result = call("batch", "watch", str(incoming), "-o", str(tmp_path / "out"), *words)
    arriving.join()
    assert result.exit_code == 0, result.stderr
    assert sorted(path.parent.name for path in (tmp_path / "out").glob("*/manifest.json")) == ["scan0", "scan1"]
    assert call("batch", "watch", str(tmp_path / "absent"), "-o", str(tmp_path / "out")).exit_code == 3


@pytest.mark.parametrize(
    ("per_hour", "said"), [(1949.6, "1950"), (123456.0, "123456"), (99.96, "100"), (7.25, "7.25"), (0.0123, "0.0123")]
)
def test_throughput_has_no_powers_of_ten(per_hour: float, said: str) -> None:
    assert throughput(per_hour) == f"{said} scans an hour"


def test_the_screen_shows_hostile_names_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    display = BatchDisplay()
    display.console = Console(width=80, color_system=None, file=io.StringIO(), force_terminal=True)
    counts: dict[State, int] = {"waiting": 120, "running": 1, "done": 77, "gate-failed": 1, "failed": 1}
    standing = Standing(counts, {"a": ("[red]p13", 0.0)}, finished=79, slots=2, rate=5.0, left=4000.0)
    reason = "\x1b[31mred\x07 " + "long " * 99
    standing.last = "p7", Outcome("k", "t", "refused", "E-GEO-03", reason)
    display.standing(standing)
    display.console.print(display._table(standing))
    shown = display.console.file.getvalue()  # type: ignore[attr-defined]
    assert "77 of 200 done, 1 running, 120 waiting, 1 gate-failed, 1 failed" in shown
    assert "13 min 20 s left, 2 workers" in shown
    assert "[red]p13" in shown
    assert "p7: E-GEO-03 ?[31mred? long" in shown
    assert "\x1b[31m" not in shown
    assert "\x07" not in shown


def test_a_lock_that_nobody_gave_back_is_no_obstacle(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with CoordinatorLock(lock), pytest.raises(UsageError, match="E-BAT-07"), CoordinatorLock(lock):
        pass
    assert lock.read_text() == ""
