"""What a terminal shows of a run: a bar for each loop, a spinner where there are no steps."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.progress import Progress

from medldm.cli.reporter import Reporter
from medldm.pipeline.events import Event


@pytest.fixture
def reporter() -> Iterator[Reporter]:
    """On a terminal of 80 columns."""
    with Reporter() as made:
        made.console = Console(width=80, color_system=None, file=io.StringIO(), force_terminal=True)
        yield made


def live(reporter: Reporter) -> Progress:
    assert reporter._live is not None
    return reporter._live


def steps(reporter: Reporter, total: int, upto: int, loop: str = "") -> None:
    for index in range(1, upto + 1):
        reporter(Event("step", f"{loop}step {index} of {total}", {"index": index, "total": total}))


def shown(reporter: Reporter) -> str:
    assert isinstance(reporter.console.file, io.StringIO)
    return reporter.console.file.getvalue()


def test_each_loop_has_a_bar_with_its_own_total(reporter: Reporter) -> None:
    reporter(Event("read", "brain", {}))
    steps(reporter, 10, 9, "trial, ")
    (task,) = live(reporter).tasks
    assert (task.description, task.completed, task.total) == ("trial", 9, 10)
    steps(reporter, 95, 3, "trial, ")
    (task,) = live(reporter).tasks
    assert (task.completed, task.total, task.finished) == (3, 95, False)
    steps(reporter, 95, 2)
    (task,) = live(reporter).tasks
    assert (task.description, task.completed, task.total) == ("step", 2, 95)


def test_two_loops_of_one_length_are_two(reporter: Reporter) -> None:
    steps(reporter, 5, 5)
    first = live(reporter)
    steps(reporter, 5, 1)
    assert live(reporter) is not first
    assert live(reporter).tasks[0].completed == 1


def test_the_time_left_is_of_the_loop_at_work(reporter: Reporter) -> None:
    steps(reporter, 4, 4, "trial, ")
    for index in range(1, 4):
        time.sleep(0.05)
        reporter(Event("step", f"step {index} of 100", {"index": index, "total": 100}))
    left = live(reporter).tasks[0].time_remaining
    assert left is not None and left >= 0.05 * 97


def test_work_without_steps_has_a_spinner(reporter: Reporter) -> None:
    reporter(Event("read", "brain", {}))
    reporter(Event("simulate", "measured", {}))
    (task,) = live(reporter).tasks
    assert (task.description, task.total) == ("building the operator", None)
    reporter(Event("warning", "truncated", {}))
    assert live(reporter).tasks[0] is task
    live(reporter).refresh()
    assert "building the operator" in shown(reporter) and "0:00:00" in shown(reporter)
    reporter(Event("operator", "A", {}))
    assert live(reporter).tasks[0].description == "making the start image"
    steps(reporter, 3, 3)
    assert live(reporter).tasks[0].description == "working"
    reporter(Event("done", "finished", {}))
    assert reporter._live is None


def test_a_simulation_or_a_training_has_no_spinner(reporter: Reporter) -> None:
    reporter(Event("simulate", "measured", {}))
    reporter(Event("train", "step 0 of 9", {}))
    assert reporter._live is None


@pytest.mark.parametrize("as_json", [True, False])
def test_no_terminal_has_no_live_line(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(as_json=as_json, quiet=not as_json) as reporter:
        reporter(Event("read", "brain", {}))
        steps(reporter, 3, 2)
        assert reporter._live is None
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), err) == (3 if as_json else 0, "")


@pytest.mark.parametrize(("stage", "saved"), [("save", True), ("resume", True), ("step", False), ("read", False)])
def test_it_knows_whether_there_is_a_state(reporter: Reporter, stage: str, saved: bool) -> None:
    reporter(Event(stage, "", {"index": 1, "total": 2}))
    assert reporter.saved is saved
