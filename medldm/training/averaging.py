"""The exponential moving average of a network's weights, which samples better than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """A running average of parameters and buffers.

    Args:
        module: whose weights.
        half_life: steps after which a step's share has halved; shorter at the beginning, where old weights are worst.
    """

    def __init__(self, module: nn.Module, half_life: float) -> None:
        self.half_life = half_life
        self.weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    def decay(self, step: int) -> float:
        """The share kept at a step."""
        return min(float(0.5 ** (1 / self.half_life)), (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take the weights of a step in."""
        share = 1 - self.decay(step)
        state = module.state_dict()
        real = [name for name, tensor in self.weights.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in real], [state[name] for name in real], share)
        for name in self.weights.keys() - set(real):
            self.weights[name].copy_(state[name])

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from saved weights."""
        for name, tensor in self.weights.items():
            tensor.copy_(weights[name])


@contextmanager
def averaged(module: nn.Module, average: WeightAverage) -> Iterator[None]:
    """The module has its averaged weights, in evaluation mode, for the length of a ``with``."""
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.load_state_dict(average.weights)
    module.eval()
    try:
        yield
    finally:
        module.load_state_dict(own)
        module.train()
