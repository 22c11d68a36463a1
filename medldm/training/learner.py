"""What networks of every kind learn with: optimiser, average of the weights, batches, and the end of a step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from medldm.training.averaging import WeightAverage
from medldm.training.batches import Batches
from medldm.training.config import TrainConfig
from medldm.training.sampler import Sampler, held_back_patches
from medldm.training.unit_range import UnitRange


class Learner:
    """A network that is trained. What is learnt, and looked at, is the subclass's.

    Args:
        network: fresh or resumed.
        config: of the run.
        trained: sampler of patches to learn from.
        held_back: sampler of patches to look at.
        accelerator: device, precision and processes.
        called: the network -> the module that a step calls, the network itself where it is left out.
        channels_last: whether the weights are laid out so, which networks of slices are faster with.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TrainConfig,
        trained: Sampler,
        held_back: Sampler,
        accelerator: Accelerator,
        *,
        called: Callable[[nn.Module], nn.Module] | None = None,
        channels_last: bool = False,
    ) -> None:
        self.config, self.accelerator = config, accelerator
        if channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.to(accelerator.device)
        options = config.optimiser
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), options.rate, betas=options.betas, weight_decay=options.decay, fused=True
        )
        self.average = WeightAverage(self.network, options.average)
        module = called(self.network) if called else self.network
        if config.run.compile:
            # The same type to a checker, though another class.
            module = torch.compile(module)  # type: ignore[assignment]
        self._prepared, self._optimiser = accelerator.prepare(module, self.optimiser)
        self._batches = Batches(trained, accelerator, config.run)
        self._looked = held_back_patches(held_back, config, accelerator.device)
        self._range = UnitRange.of(config.card.intensity)

    def images(self, step: int) -> int:
        """See :class:`medldm.training.loop.Trainee`."""
        return self._batches.images(step)

    def _step(self, loss: Tensor, step: int, rate: float) -> float:
        """Move the weights down a loss; its value, which is not a number where the gradient is not finite."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self._prepared.parameters(), self.config.optimiser.clip)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.average.update(self.network, step)
        # Read together, since a GPU is waited for at each reading.
        value, steepness = torch.stack((loss.detach().float(), norm.float())).tolist()
        return float(value) if math.isfinite(steepness) else math.nan
