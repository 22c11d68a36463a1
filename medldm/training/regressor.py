"""Training a regressor: from the start image of one measurement to the image (Jin et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from medldm.inference.denoiser import Denoiser
from medldm.inference.parametrization import Parametrization
from medldm.training.averaging import averaged
from medldm.training.config import TrainConfig
from medldm.training.image_losses import mean_psnr
from medldm.training.learner import Learner
from medldm.training.sampler import Sampler
from medldm.training.sheet import write_sheet

_SHOWN = 6
# Errors are shown this many times as large, around grey.
_MAGNIFIED = 4.0


class RegressorTrainee(Learner):
    """A network learning what a start image lacks.

    Args:
        network: fresh or resumed.
        parametrization: of the kind ``regression``.
        config: of the run.
        trained: sampler of (start, truth) to learn from.
        held_back: sampler of those to look at.
        accelerator: device, precision and processes.
    """

    def __init__(
        self,
        network: nn.Module,
        parametrization: Parametrization,
        config: TrainConfig,
        trained: Sampler,
        held_back: Sampler,
        accelerator: Accelerator,
    ) -> None:
        super().__init__(network, config, trained, held_back, accelerator, channels_last=True)
        self.parametrization = parametrization

    def learn(self, step: int, rate: float) -> Mapping[str, float]:
        """See :class:`medldm.training.loop.Trainee`."""
        batch = self._batches.at(step)
        start, truth = batch.images.to(self.accelerator.device).split(1, 1)
        condition = batch.conditions.to(self.accelerator.device)
        made = self.parametrization.denoised(
            lambda x, level: self._prepared(x, level, condition), start, start.new_zeros(len(start))
        )
        loss = (made - truth).abs().mean()
        return {"loss": self._step(loss, step, rate)}

    def look(self) -> Mapping[str, float]:
        """Mean absolute error and PSNR of the averaged network on held-back patches, and PSNR of their start images."""
        start, truth, made = self._made()
        return {
            "error": float((made - truth).abs().mean()),
            "dB": mean_psnr(made, truth, self._range.span),
            "dB of the start": mean_psnr(start, truth, self._range.span),
        }

    def draw(self, path: Path) -> None:
        """Start images, what the network makes of them, truths and errors of held-back patches."""
        start, truth, made = (self._range.unit(images[:_SHOWN]) for images in self._made())
        rows = [("start", start), ("made", made), ("truth", truth)]
        errors = [(f"{name} error", 0.5 + _MAGNIFIED * (images - truth)) for name, images in rows[:2]]
        write_sheet(path, [*rows, *errors])

    @torch.no_grad()
    def _made(self) -> tuple[Tensor, Tensor, Tensor]:
        images, conditions = self._looked
        start, truth = images.split(1, 1)
        denoiser = Denoiser(self.network, self.parametrization)
        with averaged(self.network, self.average):
            parts = zip(start.split(_SHOWN), conditions.split(_SHOWN), strict=True)
            made = torch.cat([denoiser(x, x.new_zeros(len(x)), told) for x, told in parts])
        return start, truth, made
