"""The loop of every training: learn, look, save; stopped and resumed at any step."""

from __future__ import annotations

import json
import math
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol

from medldm.errors import UsageError
from medldm.training.config import TrainConfig
from medldm.training.schedule import cool_down_begins, learning_rate
from medldm.training.state import Progress, TrainingState, require_job
from medldm.training.throughput import Meter, peak_gib

Tell = Callable[[str, str, Mapping[str, Any]], None]
# Flags of this process -> of any process.
Agree = Callable[[Sequence[bool]], Sequence[bool]]

# A launcher of several processes hands on the Ctrl-C that the terminal has already sent to all of them.
_SAME_SIGNAL_SECONDS = 2.0
_STATE = "state.safetensors"


class Trainee(Protocol):
    """What is trained."""

    def learn(self, step: int, rate: float) -> Mapping[str, float]:
        """One step at a learning rate; the losses."""
        ...

    def images(self, step: int) -> int:
        """How many images a step learns from, over all processes."""
        ...

    def look(self) -> Mapping[str, float]:
        """Figures on held-back subjects; ``error`` among them decides when to stop."""
        ...

    def draw(self, path: Path) -> None:
        """A sheet of pictures."""
        ...


class Interruption:
    """The first Ctrl-C or SIGTERM ends after the step with the state saved; a later Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked, self._asked_at = True, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._asked_at > _SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt


def train(
    trainee: Trainee,
    state: TrainingState,
    config: TrainConfig,
    folder: Path,
    tell: Tell,
    *,
    resume: bool,
    stop_after: float | None = None,
    leader: bool = True,
    agree: Agree = tuple,
) -> Progress | None:
    """Train to the last step, or until the held-back error stops falling.

    Args:
        trainee: what learns.
        state: of the trainee.
        config: of the run.
        folder: for ``state.safetensors``, ``history.json`` and ``sheets/``.
        tell: receives ``(stage, message, fields)``.
        resume: go on from the state in ``folder`` if there is one.
        stop_after: seconds after which to save and leave.
        leader: False on all but one of several processes; only the leader writes.
        agree: makes several processes end at the same step: flags of this process -> of any process.

    Returns:
        The progress at the end; None when it was left early with the state saved.

    Raises:
        KeyboardInterrupt: asked to stop; the state is saved.
        UsageError: ``E-TRN-12`` there is a state and ``resume`` is False, ``E-TRN-13`` nothing can be written,
            ``E-TRN-14`` a loss is not finite; what was saved before it is kept.
    """
    run, path = config.run, folder / _STATE
    progress = _resumed(state, path, config, resume=resume)
    if leader:
        _require_writable(folder)
    tell("train", f"step {progress.step} of {run.steps}", {"index": progress.step, "total": run.steps})
    began = saved = told = time.monotonic()
    spent = progress.seconds
    lately, since_look = Meter(), Meter()
    if progress.step == 0 and config.begin_at:
        # What there is to be gained on: the held-back error of the prior as it was.
        _look(trainee, progress, folder, tell, {}, since_look, leader=leader)
    stalled = _stalled(progress, config)
    with Interruption() as interruption:
        while progress.step < run.steps and not stalled:
            if not progress.cooled and progress.step >= cool_down_begins(run) and leader:
                state.save(_level_state(path), progress)
            for meter in (lately, since_look):
                meter.start()
            losses = trainee.learn(progress.step, learning_rate(progress.step, config.optimiser, run))
            for meter in (lately, since_look):
                meter.add(trainee.images(progress.step))
            progress.step += 1
            progress.cooled = progress.step > cool_down_begins(run)
            now = time.monotonic()
            progress.seconds = spent + now - began
            if now - told > 2 or progress.step == run.steps:
                told = now
                _tell_step(progress, run.steps, losses, lately, tell)
            sound = all(map(math.isfinite, losses.values()))
            if sound and (progress.step % run.check_every == 0 or progress.step == run.steps):
                _look(trainee, progress, folder, tell, losses, since_look, leader=leader)
            over, asked, stalled, ruined = agree(
                (
                    stop_after is not None and now - began > stop_after,
                    interruption.asked,
                    _stalled(progress, config),
                    not sound,
                )
            )
            if ruined:
                raise _not_finite(progress.step, losses)
            if leader and (now - saved > run.save_every or over or asked):
                saved = now
                state.save(path, progress)
            if asked:
                raise KeyboardInterrupt
            if over and progress.step < run.steps and not stalled:
                tell("train", f"left at step {progress.step} of {run.steps}; --resume goes on", {})
                return None
    if stalled:
        tell("train", f"no gain since step {progress.best_step}: it has learnt enough", {})
    if leader:
        state.save(path, progress)
    return progress


def _tell_step(progress: Progress, steps: int, losses: Mapping[str, float], meter: Meter, tell: Tell) -> None:
    rate, images = meter.read()
    values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    peak = peak_gib()
    tell(
        "step",
        f"step {progress.step} of {steps}: {values}, {rate:.2f} steps/s, {images:.1f} images/s, {peak:.2f} GiB at most",
        {
            **{"index": progress.step, "total": steps, "steps_per_s": rate, "images_per_s": images, "peak_gib": peak},
            **losses,
        },
    )


def _level_state(path: Path) -> Path:
    return path.with_name("state-before-cool-down.safetensors")


def require_resume(folder: Path, *, resume: bool, job: str = "") -> None:
    """Refuse a folder that holds the state of a training, unless it is to be resumed.

    Args:
        folder: of the training.
        resume: whether it is.
        job: of the training, where what comes before its state is loaded takes long.

    Raises:
        UsageError: ``E-TRN-12`` it is not to be resumed, ``E-TRN-11`` the state is of another job.
    """
    path = folder / _STATE
    if not path.is_file():
        return
    if resume and job:
        require_job(path, job)
    if not resume:
        raise UsageError(
            "E-TRN-12",
            f"{folder} holds the state of a training.",
            why="It would be lost.",
            fix="Add --resume to go on with it, or choose another folder.",
        )


def _resumed(state: TrainingState, path: Path, config: TrainConfig, *, resume: bool) -> Progress:
    require_resume(path.parent, resume=resume)
    if not path.is_file():
        return Progress()
    progress = state.load(path)
    level = _level_state(path)
    # A run made longer goes on from where the rate was level: from a cooled state it would have to warm up again.
    if progress.cooled and progress.step < config.run.steps and level.is_file():
        before = state.load(level)
        if before.step < cool_down_begins(config.run) and before.step < progress.step:
            return before
        progress = state.load(path)
    return progress


def _stalled(progress: Progress, config: TrainConfig) -> bool:
    looks = [row["step"] for row in progress.history]
    return progress.step in looks and sum(step > progress.best_step for step in looks) >= config.run.patience


def _not_finite(step: int, losses: Mapping[str, float]) -> UsageError:
    values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    return UsageError(
        "E-TRN-14",
        f"The training was ended at step {step}, whose loss is not finite: {values}.",
        why="Nothing more can be learnt after it; a state that was saved before it is kept.",
        fix="Look for wild values in the scans, or train with a smaller optimiser.rate into another folder; in "
        "place of run.precision bf16, --resume --set run.precision=no may get further from that state.",
    )


def _look(
    trainee: Trainee,
    progress: Progress,
    folder: Path,
    tell: Tell,
    losses: Mapping[str, float],
    meter: Meter,
    *,
    leader: bool,
) -> None:
    pace = {"images_per_s": round(meter.read()[1], 2), "peak_gib": round(peak_gib(), 3)}
    figures = dict(trainee.look())
    error = figures["error"]
    if error < progress.best:
        progress.best, progress.best_step = error, progress.step
    progress.history.append({"step": progress.step, "seconds": progress.seconds, **losses, **pace, **figures})
    if leader:
        try:
            _write_pictures(trainee, progress, folder)
        except OSError as error:
            # Not worth the training; if the state cannot be written either, saving it says so.
            tell("warning", f"no pictures of step {progress.step}: {error.strerror}", {"step": progress.step})
    values = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    speed = f"{pace['images_per_s']:.1f} images/s, {pace['peak_gib']:.2f} GiB at most"
    tell("look", f"step {progress.step}: {values}; {speed}", {"step": progress.step, **pace, **figures})


def _write_pictures(trainee: Trainee, progress: Progress, folder: Path) -> None:
    from medldm.training.sheet import loss_curve

    sheets = folder / "sheets"
    sheets.mkdir(parents=True, exist_ok=True)
    trainee.draw(sheets / f"step-{progress.step:07d}.png")
    aside = folder / ".history.json.part"
    aside.write_text(json.dumps(progress.history, indent=1) + "\n", encoding="utf-8")
    aside.replace(folder / "history.json")
    loss_curve(progress.history, folder / "losses.png")


def _require_writable(folder: Path) -> None:
    """Now, and not at the first save after minutes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            "E-TRN-13",
            f"The folder {folder} cannot be written to: {error.strerror}.",
            why="State, pictures and the prior are kept there.",
            fix="Choose another --out.",
        ) from error
