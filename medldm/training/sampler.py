"""What every training draws its batches from, addressed by (seed, step, item): resuming needs no state of a sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from medldm.inference import Noise
from medldm.inference.conditioning import Conditioning, Value
from medldm.training.config import PatchShape, TrainConfig


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        images: (batch, channel, *spatial), model values.
        conditions: (batch, size) of the conditioning.
    """

    images: Tensor
    conditions: Tensor


class Weighted(Protocol):
    """What is drawn from."""

    @property
    def weight(self) -> float:
        """How often, against the others."""
        ...


class Sampler(ABC):
    """Draws patches of the shapes of a configuration.

    Args:
        sources: of one side, trained on or held back.
        config: of the run.
        conditioning: what the network can be told.
        augment: False for the held-back side, whose patches are plain.
    """

    def __init__(
        self, sources: Sequence[Weighted], config: TrainConfig, conditioning: Conditioning, *, augment: bool
    ) -> None:
        self.config, self.conditioning, self.augment = config, conditioning, augment
        self._noise = Noise(config.seed, "train" if augment else "check")
        weights = np.array([source.weight for source in sources])
        self._cumulative = np.cumsum(weights / weights.sum())
        shares = np.array([shape.share for shape in config.patches.shapes])
        self._shapes = np.cumsum(shares / shares.sum())

    def shape(self, step: int) -> PatchShape:
        """The patch shape of a step; equal on every process."""
        draw = self._noise.stream("shape", step=step).uniform()
        return self.config.patches.shapes[int(np.searchsorted(self._shapes, draw, side="right"))]

    def batch(self, step: int, first: int = 0) -> Batch:
        """The patches of a step.

        Args:
            step: from 0.
            first: number of the first item, so that several processes draw different ones.
        """
        shape = self.shape(step)
        drawn = [self.one(step, first + item, shape.size) for item in range(shape.batch)]
        return Batch(torch.stack([image for image, _ in drawn]), self.conditioning.vectors([told for _, told in drawn]))

    @abstractmethod
    def one(self, step: int, item: int, size: int) -> tuple[Tensor, Mapping[str, Value]]:
        """One patch (channel, *spatial) and what is told of it."""

    def drawn_source(self, generator: np.random.Generator) -> int:
        """The number of a source, by the weights."""
        return min(int(np.searchsorted(self._cumulative, generator.uniform())), len(self._cumulative) - 1)

    def known(self, facts: Mapping[str, Value]) -> dict[str, Value]:
        """Those facts that the network understands."""
        return {name: value for name, value in facts.items() if name in self.conditioning.names}

    def told(self, facts: Mapping[str, Value], generator: np.random.Generator) -> dict[str, Value]:
        """Some of them, so that the network learns to do without."""
        options = self.config.patches
        if generator.uniform() > options.told:
            return {}
        return {name: value for name, value in self.known(facts).items() if generator.uniform() < options.keep}


def held_back_patches(sampler: Sampler, config: TrainConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """The patches that every look of a run sees, and their conditions."""
    size = config.patches.shapes[0].size
    drawn = [sampler.one(0, item, size) for item in range(config.run.check_patches)]
    images = torch.stack([image for image, _ in drawn])
    return images.to(device), sampler.conditioning.vectors([told for _, told in drawn]).to(device)
