"""The state of a training run on disk: whole or absent, no pickles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medldm.errors import UsageError
from medldm.training.averaging import WeightAverage


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: steps done.
        seconds: spent training, however often the run was resumed.
        best: smallest held-back error so far.
        best_step: when that was.
        history: one row per look at the held-back subjects.
        cooled: whether the learning rate of the last step was falling towards the end of the run.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    best_step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    cooled: bool = False


class TrainingState:
    """Networks, averages and optimisers that are saved and resumed together.

    Args:
        modules: name -> network, each with its optimiser and, or None, its average.
        job: what makes two runs the same; a state of another job is refused.
    """

    def __init__(
        self,
        modules: Mapping[str, tuple[nn.Module, torch.optim.Optimizer, WeightAverage | None]],
        job: str,
    ) -> None:
        self.modules, self.job = modules, job

    def save(self, path: Path, progress: Progress) -> None:
        """Write aside and rename into place; a kill at any moment leaves the last whole state.

        Raises:
            UsageError: ``E-TRN-13`` it cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        for name, (module, optimiser, average) in self.modules.items():
            tensors |= {f"{name}/weights/{key}": value for key, value in module.state_dict().items()}
            if average is not None:
                tensors |= {f"{name}/average/{key}": value for key, value in average.weights.items()}
            for index, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}/optimiser/{index}/{key}": torch.as_tensor(v) for key, v in moments.items()}
        whole = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        facts = {"job": self.job, "progress": json.dumps(progress.__dict__)}
        # One name for all, so that what a kill leaves behind is overwritten by the next save.
        aside = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(whole, aside, metadata=facts)
            aside.replace(path)
        except (OSError, SafetensorError) as error:
            raise UsageError(
                "E-TRN-13",
                f"The state of the training cannot be written to {path}: {error}.",
                why="What was saved before is still whole.",
                fix="Make room, or the folder writable, and go on with --resume.",
            ) from error
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def load(self, path: Path) -> Progress:
        """Put a saved state back.

        Raises:
            UsageError: ``E-TRN-10`` not a state, ``E-TRN-11`` of another job.
        """
        try:
            with safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
                _require_job(path, facts, self.job)
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            # A file that does not say whether it is cooled may be of a finished run.
            progress = Progress(**{"cooled": True, **json.loads(facts["progress"])})
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise _no_state(path, error) from error
        for name, (module, optimiser, average) in self.modules.items():
            module.load_state_dict(_below(tensors, f"{name}/weights/"))
            if average is not None:
                average.load(_below(tensors, f"{name}/average/"))
            optimiser.load_state_dict(_optimiser_state(optimiser, _below(tensors, f"{name}/optimiser/")))
            _lay_out_as_weights(optimiser)
        return progress


def require_job(path: Path, job: str) -> None:
    """Refuse a file that :meth:`TrainingState.load` would refuse by what it says of itself, before there are networks.

    Args:
        path: of a saved state.
        job: that is to be gone on with.

    Raises:
        UsageError: ``E-TRN-10`` not a state, ``E-TRN-11`` of another job.
    """
    try:
        with safe_open(path, framework="pt") as file:
            _require_job(path, file.metadata() or {}, job)
    except (SafetensorError, OSError) as error:
        raise _no_state(path, error) from error


def _require_job(path: Path, facts: Mapping[str, str], job: str) -> None:
    if facts.get("job") != job:
        raise UsageError(
            "E-TRN-11",
            f"{path} is the state of another training.",
            why="The configuration or the scans have changed in more than the section run.",
            fix="Resume with the same configuration and scans, or train into another folder.",
        )


def _no_state(path: Path, error: Exception) -> UsageError:
    return UsageError(
        "E-TRN-10", f"{path} is no whole training state.", why=type(error).__name__, fix="Delete it and train anew."
    )


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _optimiser_state(optimiser: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> dict[str, Any]:
    state: dict[str, Any] = optimiser.state_dict()
    state["state"] = {}
    for key, value in moments.items():
        index, _, name = key.partition("/")
        state["state"].setdefault(int(index), {})[name] = value
    return state


def _lay_out_as_weights(optimiser: torch.optim.Optimizer) -> None:
    """Files hold contiguous tensors, but a fused AdamW walks weights and moments in memory order, side by side."""
    for parameter, moments in optimiser.state.items():
        for key, value in moments.items():
            if value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)
