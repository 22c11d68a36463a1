"""The loop that drives a solver."""

from __future__ import annotations

import pytest
import torch

from medldm.inference import Step, run


def steps(n: int, seen: list[int] | None = None):
    for k in range(n):
        if seen is not None:
            seen.append(k)
        x = torch.full((1, 1, 1, 1), float(k))
        yield Step(k, n, None, x, x, {"x": x})


def test_returns_the_last_step_and_tells_observers_in_order():
    first, second = [], []
    last = run(steps(4), lambda s: first.append(s.index), lambda s: second.append(s.index))
    assert last.index == 3
    assert first == second == [0, 1, 2, 3]


def test_an_observer_stops_the_run_and_the_others_still_hear_of_that_step():
    computed, heard = [], []
    last = run(steps(9, computed), lambda s: s.index < 2, lambda s: heard.append(s.index))
    assert last.index == 2
    assert computed == heard == [0, 1, 2]


def test_only_false_stops():
    assert run(steps(3), lambda s: None, lambda s: 0).index == 2


def test_no_step_is_an_error():
    with pytest.raises(ValueError, match="no step"):
        run(steps(0))


def test_an_error_of_an_observer_is_not_swallowed():
    def fail(step: Step) -> None:
        raise RuntimeError(f"at {step.index}")

    with pytest.raises(RuntimeError, match="at 0"):
        run(steps(3), fail)
