"""The batches of a run by step, drawn in between or by workers."""

from __future__ import annotations

from collections.abc import Iterator

from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from medldm.training.config import RunOptions
from medldm.training.sampler import Batch, Sampler


class Batches:
    """Batch of any step; asked in order, workers draw ahead.

    Args:
        sampler: of patches.
        accelerator: tells which of several processes this is; each draws items of its own.
        run: steps and workers.
    """

    def __init__(self, sampler: Sampler, accelerator: Accelerator, run: RunOptions) -> None:
        self._steps = _Steps(sampler, accelerator.process_index, run.steps)
        self._workers, self._processes = run.workers, int(accelerator.num_processes)
        self._ahead: Iterator[Batch] | None = None
        self._next = -1

    def images(self, step: int) -> int:
        """How many images the batch of a step has, over all processes."""
        return self._processes * self._steps.sampler.shape(step).batch

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        if self._workers == 0:
            return self._steps[step]
        if self._ahead is None or step != self._next:
            left = range(step, len(self._steps))
            loader = DataLoader(
                self._steps, batch_size=None, sampler=left, num_workers=self._workers, prefetch_factor=4
            )
            self._ahead = iter(loader)
        self._next = step + 1
        return next(self._ahead)


class _Steps(Dataset[Batch]):
    def __init__(self, sampler: Sampler, place: int, steps: int) -> None:
        self.sampler, self.place, self.steps = sampler, place, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        return self.sampler.batch(step, self.place * self.sampler.shape(step).batch)
