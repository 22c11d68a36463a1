"""The observer of a running solver: tells each step, keeps its state, stops cleanly on Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from medldm.errors import UsageError
from medldm.inference import Step
from medldm.pipeline.events import Teller

SAVE_EVERY_SECONDS = 60.0


class Progress:
    """Observer and context manager around ``run``.

    The first Ctrl-C waits for the end of the step, because a solver may update its tensors in place; then the state
    is saved and ``KeyboardInterrupt`` raised. A second Ctrl-C stops at once, with the state of the last save.

    Args:
        state_file: where to keep the solver's state; None keeps none.
        job: what makes two runs the same job; a state of another job is refused.
        tell: receives one ``step`` event per iteration.
        resume: go on from the state file if there is one.
        stop: asked after every step; True is taken like Ctrl-C.
        save_every: seconds between two saves; every minute when None.
    """

    def __init__(
        self,
        state_file: Path | None,
        job: Mapping[str, str],
        tell: Teller,
        *,
        resume: bool,
        stop: Callable[[], bool] | None = None,
        save_every: float | None = None,
    ) -> None:
        self.state_file, self.job, self.tell, self.resume = state_file, dict(job), tell, resume
        self.stop = stop
        self.save_every = SAVE_EVERY_SECONDS if save_every is None else save_every
        self.steps = 0
        self.resumed_after: int | None = None
        self._restored = False
        self._interrupted = threading.Event()
        self._saved_at = time.monotonic()
        self._previous: Any = None

    def __enter__(self) -> Progress:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted.is_set():
            raise KeyboardInterrupt
        self._interrupted.set()
        self.tell("warning", "interrupted: stopping after this step; press Ctrl-C again to stop at once")

    def __call__(self, step: Step) -> None:
        """Observe one step."""
        if self._restored and self.resumed_after is None:
            self.resumed_after = step.index
        self.steps = step.index + 1
        self.tell("step", f"step {self.steps} of {step.total}", index=self.steps, total=step.total, sigma=step.sigma)
        if self.stop is not None and self.stop():
            self._interrupted.set()
        due = time.monotonic() - self._saved_at > self.save_every
        if due or self._interrupted.is_set():
            self._save(step)
        if self._interrupted.is_set():
            raise KeyboardInterrupt

    def _save(self, step: Step) -> None:
        if self.state_file is None or not step.state:
            return
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in step.state.items()}
        aside = _aside(self.state_file)
        self._saved_at = time.monotonic()
        try:
            save_file(tensors, aside, metadata=self.job)
            aside.replace(self.state_file)
        except (OSError, SafetensorError) as error:
            # The state is a convenience; the run goes on without it, and tries again when the next one is due.
            aside.unlink(missing_ok=True)
            self.tell("warning", f"the state after step {step.index + 1} cannot be saved beside the output: {error}")
            return
        self.tell("save", f"state after step {step.index + 1} saved", index=step.index + 1)

    def restored(self, device: torch.device) -> dict[str, Tensor] | None:
        """The saved state of the same job, None when there is none or resuming was not asked for."""
        if not self.resume or self.state_file is None or not self.state_file.is_file():
            return None
        try:
            with safe_open(self.state_file, framework="pt", device=str(device)) as file:
                if file.metadata() != self.job:
                    raise UsageError(
                        "E-RUN-08",
                        f"The saved state {self.state_file} belongs to another scan, recipe or version.",
                        why="Going on from it would mix two reconstructions.",
                        fix="Delete the file, or leave out --resume.",
                    )
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError as error:
            raise UsageError(
                "E-RUN-09",
                f"The saved state {self.state_file} is damaged.",
                fix="Delete the file, or leave out --resume.",
            ) from error
        self.tell("resume", "going on from the saved state")
        self._restored = True
        return state

    def forget(self) -> None:
        """Remove the state, and what a run that was killed while saving left of one: the job is finished."""
        if self.state_file is not None:
            self.state_file.unlink(missing_ok=True)
            _aside(self.state_file).unlink(missing_ok=True)


def _aside(state_file: Path) -> Path:
    return state_file.with_name(state_file.name + ".part")
