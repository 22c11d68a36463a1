"""The loop: learns, looks, saves, stops and goes on; with a toy in the place of a network."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_scene import tiny_config

from medldm.errors import UsageError
from medldm.training.config import RunOptions, TrainConfig
from medldm.training.loop import train
from medldm.training.sheet import write_sheet
from medldm.training.state import Progress, TrainingState


class _Counter:
    """Counts its steps in its only weight; its held-back error is given."""

    def __init__(self, errors: Sequence[float] = ()) -> None:
        self.network = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.network.weight)
        self.optimiser = torch.optim.AdamW(self.network.parameters())
        self.state = TrainingState({"network": (self.network, self.optimiser, None)}, "job")
        self.errors = list(errors)
        self.seen: list[tuple[int, float]] = []
        self.at: dict[int, Any] = {}

    @property
    def count(self) -> float:
        return float(self.network.weight.detach())

    def learn(self, step: int, rate: float) -> Mapping[str, float]:
        assert self.count == step
        self.seen.append((step, rate))
        self.network.weight.data += 1
        if step in self.at:
            self.at[step]()
        return {"loss": 1.0 / (1 + step)}

    def images(self, step: int) -> int:
        return 3

    def look(self) -> Mapping[str, float]:
        return {"error": self.errors.pop(0) if self.errors else 1.0 / self.count, "dB at 0.1": 20.0}

    def draw(self, path: Path) -> None:
        write_sheet(path, [("nothing", torch.zeros(2, 1, 4, 4))])


class _Teller:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, Mapping[str, Any]]] = []

    def __call__(self, stage: str, message: str, fields: Mapping[str, Any]) -> None:
        self.told.append((stage, message, fields))

    def messages(self, stage: str) -> list[str]:
        return [message for s, message, _ in self.told if s == stage]


def _config(**run: Any) -> TrainConfig:
    return replace(tiny_config(), run=RunOptions(**{"steps": 10, "check_every": 5, "cool_down": 0.0, **run}))


def _train(
    trainee: _Counter, folder: Path, config: TrainConfig, *, resume: bool = False, **rest: Any
) -> Progress | None:
    return train(trainee, trainee.state, config, folder, rest.pop("tell", _Teller()), resume=resume, **rest)


def test_a_run_leaves_a_state_a_history_sheets_and_curves(tmp_path: Path) -> None:
    tell = _Teller()
    progress = _train(_Counter(), tmp_path, _config(steps=12), tell=tell)
    assert progress is not None and progress.step == 12
    assert (progress.best, progress.best_step) == (1 / 12, 12)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [row["step"] for row in history] == [5, 10, 12]
    assert all(row["images_per_s"] > 0 and row["peak_gib"] > 0 for row in history)
    pictures = sorted(path for path in tmp_path.rglob("*") if path.suffix == ".png")
    assert [path.name for path in pictures] == ["losses.png"] + [f"step-{n:07d}.png" for n in (5, 10, 12)]
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n") and path.stat().st_size > 1000 for path in pictures)
    *_, last = tell.messages("step")  # one every ten seconds, and the last
    assert "step 12 of 12" in last and "images/s" in last and "GiB" in last


def test_left_and_resumed_is_never_left(tmp_path: Path) -> None:
    config = _config(steps=10, cool_down=0.4, save_every=1e9)
    straight = _Counter()
    _train(straight, tmp_path / "a", config)

    first = _Counter()
    tell = _Teller()
    assert _train(first, tmp_path / "b", config, stop_after=1e-9, tell=tell) is None
    assert first.count == 1 and "left at step 1 of 10; --resume goes on" in tell.messages("train")
    second = _Counter()
    progress = _train(second, tmp_path / "b", config, resume=True)
    assert progress is not None and progress.step == 10
    assert first.seen + second.seen == straight.seen


def test_a_folder_with_a_state_is_not_overwritten_in_silence(tmp_path: Path) -> None:
    _train(_Counter(), tmp_path, _config())
    with pytest.raises(UsageError) as refusal:
        _train(_Counter(), tmp_path, _config())
    assert refusal.value.code == "E-TRN-12"


def test_resuming_a_finished_run_ends_at_once(tmp_path: Path) -> None:
    _train(_Counter(), tmp_path, _config())
    again = _Counter()
    progress = _train(again, tmp_path, _config(), resume=True)
    assert progress is not None and progress.step == 10 and again.seen == [] and again.count == 10


def test_a_cooled_run_is_made_longer_from_where_its_rate_was_level(tmp_path: Path) -> None:
    _train(_Counter(), tmp_path, _config(steps=10, cool_down=0.4))
    longer = _Counter()
    progress = _train(longer, tmp_path, _config(steps=20, cool_down=0.4), resume=True)
    assert progress is not None and progress.step == 20
    assert [step for step, _ in longer.seen] == list(range(6, 20))
    rates = dict(longer.seen)
    assert rates[6] == rates[11] and rates[13] < rates[11]


def test_a_run_made_longer_keeps_its_work_at_every_stop(tmp_path: Path) -> None:
    _train(_Counter(), tmp_path, _config(steps=10, cool_down=0.4))
    longer = _config(steps=30, cool_down=0.4, save_every=1e9)
    seen = []
    for last in (8, 14, 19, 25):
        part = _Counter()
        part.at[last] = lambda: os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            _train(part, tmp_path, longer, resume=True)
        seen += [step for step, _ in part.seen]
    assert seen == list(range(6, 26))
    rest = _Counter()
    progress = _train(rest, tmp_path, longer, resume=True)
    assert progress is not None and progress.step == 30 and len(rest.seen) == 4
    # The level state is that of the longer run now.
    again = _Counter()
    _train(again, tmp_path, _config(steps=40, cool_down=0.4), resume=True)
    assert again.seen[0][0] == 18


def test_a_run_made_shorter_keeps_the_state_before_its_rate_fell(tmp_path: Path) -> None:
    first = _Counter()
    first.at[15] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        _train(first, tmp_path, _config(steps=100, cool_down=0.4))
    _train(_Counter(), tmp_path, _config(steps=20, cool_down=0.4), resume=True)
    longer = _Counter()
    _train(longer, tmp_path, _config(steps=40, cool_down=0.4), resume=True)
    assert longer.seen[0][0] == 16


def test_a_run_left_while_it_cools_goes_on_cooling(tmp_path: Path) -> None:
    config = _config(steps=10, cool_down=0.4)
    first = _Counter()
    first.at[7] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        _train(first, tmp_path, config)
    second = _Counter()
    _train(second, tmp_path, config, resume=True)
    assert [step for step, _ in second.seen] == [8, 9]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_after_the_step_with_the_state_saved(tmp_path: Path, number: signal.Signals) -> None:
    handler = signal.getsignal(number)
    trainee = _Counter()

    def twice() -> None:
        # A launcher hands on the signal that the terminal has sent to all processes already.
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    trainee.at[3] = twice
    with pytest.raises(KeyboardInterrupt):
        _train(trainee, tmp_path, _config())
    assert trainee.count == 4 and signal.getsignal(number) is handler
    assert _Counter().state.load(tmp_path / "state.safetensors").step == 4


def test_it_ends_when_the_held_back_error_no_longer_falls(tmp_path: Path) -> None:
    trainee = _Counter(errors=[0.5, 0.4, 0.6, 0.41, 0.3, 0.2])
    tell = _Teller()
    progress = _train(trainee, tmp_path, _config(steps=100, check_every=2, patience=2), tell=tell)
    assert progress is not None
    assert (progress.step, progress.best, progress.best_step) == (8, 0.4, 4)
    assert "no gain since step 4: it has learnt enough" in tell.messages("train")
    assert _Counter().state.load(tmp_path / "state.safetensors").step == 8


def test_a_run_that_has_learnt_enough_is_resumed_to_its_end(tmp_path: Path) -> None:
    errors = [0.5, 0.4, 0.6, 0.41]
    _train(_Counter(errors), tmp_path, _config(steps=100, check_every=2, patience=2))
    again, tell = _Counter(), _Teller()
    progress = _train(again, tmp_path, _config(steps=100, check_every=2, patience=2), resume=True, tell=tell)
    assert progress is not None and progress.step == 8 and again.seen == []
    assert "no gain since step 4: it has learnt enough" in tell.messages("train")
    # More patience goes on, and looks count as looks, however far apart they are.
    patient = _Counter([0.7, 0.7])
    progress = _train(patient, tmp_path, _config(steps=100, check_every=1, patience=4), resume=True)
    assert progress is not None and progress.step == 10


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run_with_the_last_sound_state(tmp_path: Path, loss: float) -> None:
    class Ruined(_Counter):
        def learn(self, step: int, rate: float) -> Mapping[str, float]:
            return {**super().learn(step, rate), "loss": loss if step == 7 else 1.0}

    config = _config(steps=10, check_every=2, cool_down=0.3, save_every=1e-9)
    with pytest.raises(UsageError, match=r"E-TRN-14.*step 8") as refusal:
        _train(Ruined(), tmp_path, config)
    assert refusal.value.fix
    for name in ("state", "state-before-cool-down"):
        assert _Counter().state.load(tmp_path / f"{name}.safetensors").step == 7
    assert [row["step"] for row in json.loads((tmp_path / "history.json").read_text())] == [2, 4, 6]


def test_only_the_leader_writes(tmp_path: Path) -> None:
    progress = _train(_Counter(), tmp_path, _config(cool_down=0.5, save_every=1e-9), leader=False)
    assert progress is not None and progress.step == 10
    assert list(tmp_path.rglob("*")) == []


def test_processes_end_together(tmp_path: Path) -> None:
    """Another process asks to leave at its third step; this one saves and leaves there too."""
    calls: list[Sequence[bool]] = []

    def agree(flags: Sequence[bool]) -> Sequence[bool]:
        calls.append(flags)
        return [flags[0] or len(calls) == 3, *flags[1:]]

    trainee = _Counter()
    assert _train(trainee, tmp_path, _config(save_every=1e9), agree=agree) is None
    assert trainee.count == 3 and len(calls) == 3
    assert _Counter().state.load(tmp_path / "state.safetensors").step == 3


def test_a_picture_that_cannot_be_written_does_not_end_the_training(tmp_path: Path) -> None:
    trainee, tell = _Counter(), _Teller()
    (tmp_path / "sheets").write_text("in the way")
    progress = _train(trainee, tmp_path, _config(), tell=tell)
    assert progress is not None and progress.step == 10 and len(progress.history) == 2
    assert tell.messages("warning") == [f"no pictures of step {n}: File exists" for n in (5, 10)]


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    trainee = _Counter()
    with pytest.raises(UsageError) as refusal:
        _train(trainee, tmp_path / "file" / "training", _config())
    assert refusal.value.code == "E-TRN-13" and trainee.seen == []
