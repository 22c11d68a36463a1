"""The state of a training: whole or absent, and a resumed run is the run that was never left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medldm.errors import UsageError
from medldm.training import state as state_module
from medldm.training.averaging import WeightAverage
from medldm.training.state import Progress, TrainingState


class _Run:
    """A network of convolutions in channels-last layout, as the denoisers of slices are, with a fused AdamW."""

    def __init__(self, seed: int, job: str = "job") -> None:
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 3, padding=1))
        self.network = network.to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), 1e-2, fused=True)
        self.average = WeightAverage(self.network, 5.0)
        self.state = TrainingState({"denoiser": (self.network, self.optimiser, self.average)}, job)

    def learn(self, first: int, last: int) -> None:
        for step in range(first, last):
            x = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(step))
            (self.network(x) - x.flip(-1)).square().mean().backward()
            self.optimiser.step()
            self.optimiser.zero_grad()
            self.average.update(self.network, step)

    def tensors(self) -> dict[str, Tensor]:
        moments = {
            f"{i}/{key}": value for i, one in self.optimiser.state_dict()["state"].items() for key, value in one.items()
        }
        return {**self.network.state_dict(), **{f"average/{k}": v for k, v in self.average.weights.items()}, **moments}


def test_a_resumed_run_is_the_run_that_was_never_left(tmp_path: Path) -> None:
    straight = _Run(0)
    straight.learn(0, 9)

    left = _Run(0)
    left.learn(0, 4)
    left.state.save(tmp_path / "state.safetensors", Progress(step=4, seconds=3.5, best=0.25, best_step=3))
    resumed = _Run(1)
    progress = resumed.state.load(tmp_path / "state.safetensors")
    assert progress == Progress(step=4, seconds=3.5, best=0.25, best_step=3)
    resumed.learn(progress.step, 9)

    expected, found = straight.tensors(), resumed.tensors()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_an_infinite_best_error_survives_the_file(tmp_path: Path) -> None:
    run = _Run(0)
    run.state.save(tmp_path / "s", Progress(history=[{"step": 1, "error": 0.5}]))
    assert _Run(1).state.load(tmp_path / "s") == Progress(history=[{"step": 1, "error": 0.5}])


def test_a_file_that_does_not_say_whether_it_is_cooled_may_be(tmp_path: Path) -> None:
    """Then a longer run goes back to where the rate was level, once."""
    _Run(0).state.save(tmp_path / "s", Progress(step=3))
    tensors, facts = load_file(tmp_path / "s"), {"job": "job", "progress": '{"step": 3}'}
    assert not _Run(1).state.load(tmp_path / "s").cooled
    save_file(tensors, tmp_path / "s", metadata=facts)
    assert _Run(1).state.load(tmp_path / "s") == Progress(step=3, cooled=True)


def test_a_save_that_fails_half_way_leaves_the_last_whole_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    run = _Run(0)
    run.state.save(path, Progress(step=1))

    def fills_the_disk(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
        save_file(tensors, file, metadata=metadata)
        os.truncate(file, 100)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(state_module, "save_file", fills_the_disk)
        with pytest.raises(UsageError) as refusal:
            run.state.save(path, Progress(step=2))
    assert refusal.value.code == "E-TRN-13" and "No space left" in refusal.value.what
    assert _Run(1).state.load(path).step == 1
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_a_kill_left_behind_is_neither_read_nor_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    run = _Run(0)
    run.state.save(path, Progress(step=1))

    class Killed(BaseException):
        pass

    def dies(*args: object, **kwargs: object) -> None:
        Path(args[1]).write_bytes(b"half")  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(state_module, "save_file", dies)
        # A kill runs no clean-up, so it is put aside for this once.
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        with pytest.raises(Killed):
            run.state.save(path, Progress(step=2))
    assert len(list(tmp_path.iterdir())) == 2
    assert _Run(1).state.load(path).step == 1
    run.state.save(path, Progress(step=3))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_state_of_another_job_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    _Run(0).state.save(tmp_path / "s", Progress(step=1))
    other = _Run(1, job="another")
    before = {name: tensor.clone() for name, tensor in other.tensors().items()}
    with pytest.raises(UsageError) as refusal:
        other.state.load(tmp_path / "s")
    assert refusal.value.code == "E-TRN-11"
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.tensors().items())


@pytest.mark.parametrize("content", ["empty", "truncated", "text", "no progress"])
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "s"
    run = _Run(0)
    run.state.save(path, Progress(step=1))
    if content == "no progress":
        save_file({"x": torch.zeros(1)}, path, metadata={"job": "job"})
    else:
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"not a state" * 9}[content])
    with pytest.raises(UsageError) as refusal:
        run.state.load(path)
    assert refusal.value.code == "E-TRN-10"
