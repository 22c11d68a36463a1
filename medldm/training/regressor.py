"""Training a regressor: from the start image of one measurement to the image (Jin et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from medldm.inference.denoiser import Denoiser
from medldm.inference.parametrization import Parametrization
from medldm.training.averaging import WeightAverage, averaged
from medldm.training.batches import Batches
from medldm.training.config import TrainConfig
from medldm.training.sampler import Sampler, held_back_patches
from medldm.training.sheet import write_sheet

_SHOWN = 6
# Errors are shown this many times as large, around grey.
_MAGNIFIED = 4.0


class RegressorTrainee:
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
        self.config, self.parametrization, self.accelerator = config, parametrization, accelerator
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.to(accelerator.device)
        options = config.optimiser
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), options.rate, betas=options.betas, weight_decay=options.decay, fused=True
        )
        self.average = WeightAverage(self.network, options.average)
        compiled = torch.compile(self.network) if config.run.compile else self.network
        self._prepared, self._optimiser = accelerator.prepare(compiled, self.optimiser)
        self._batches = Batches(trained, accelerator, config.run)
        self._looked = held_back_patches(held_back, config, accelerator.device)

    def learn(self, step: int, rate: float) -> Mapping[str, float]:
        """See :class:`medldm.training.loop.Trainee`."""
        batch = self._batches.at(step)
        start, truth = batch.images.to(self.accelerator.device).split(1, 1)
        condition = batch.conditions.to(self.accelerator.device)
        made = self.parametrization.denoised(
            lambda x, level: self._prepared(x, level, condition), start, start.new_zeros(len(start))
        )
        loss = (made - truth).abs().mean()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self._prepared.parameters(), self.config.optimiser.clip)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.average.update(self.network, step)
        return {"loss": float(loss.detach())}

    def images(self, step: int) -> int:
        """See :class:`medldm.training.loop.Trainee`."""
        return self._batches.images(step)

    def look(self) -> Mapping[str, float]:
        """Mean absolute error and PSNR of the averaged network on held-back patches, and PSNR of their start images."""
        start, truth, made = self._made()
        return {
            "error": float((made - truth).abs().mean()),
            "dB": _decibel(made, truth),
            "dB of the start": _decibel(start, truth),
        }

    def draw(self, path: Path) -> None:
        """Start images, what the network makes of them, truths and errors of held-back patches."""
        start, truth, made = (images[:_SHOWN] for images in self._made())
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


def _decibel(images: Tensor, truth: Tensor) -> float:
    """Mean over images of the PSNR in model values, of peak 1."""
    error = (images - truth).square().flatten(1).mean(1)
    return float(-10 * error.clamp(min=1e-12).log10().mean())
