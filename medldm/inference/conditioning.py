"""What a network is told besides the noisy image: classes and numbers, each of which may be unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Value = str | float | None


@dataclass(frozen=True)
class Conditioning:
    """The facts that a network understands, and how they become its vector.

    A class is written as one number per value, one for the value and zeros else; a number as ``(standardised, 1)``.
    What is unknown is all zeros, so a network trained with facts left out falls back to the unconditional denoiser.

    Attributes:
        classes: name of a fact -> its possible values, e.g. ``{"contrast": ("t1w", "t2w")}``.
        numbers: name of a fact -> (centre, scale), e.g. ``{"spacing_mm": (1.0, 0.5)}``.
    """

    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(len(values) for values in self.classes.values()) + 2 * len(self.numbers)

    @property
    def names(self) -> tuple[str, ...]:
        """All facts, classes first."""
        return (*self.classes, *self.numbers)

    def vector(self, facts: Mapping[str, Value]) -> Tensor:
        """The vector (size,) of some facts; those left out or None are unknown.

        Raises:
            ValueError: a fact or a class has no such name, or a number is not finite.
        """
        unknown = sorted(set(facts) - set(self.names))
        if unknown:
            raise ValueError(f"the network knows {list(self.names)}, not {unknown}")
        parts: list[float] = []
        for name, values in self.classes.items():
            value = facts.get(name)
            if value is not None and value not in values:
                raise ValueError(f"{name} is one of {list(values)}, not {value!r}")
            parts += [float(value == one) for one in values]
        for name, (centre, scale) in self.numbers.items():
            value = facts.get(name)
            if isinstance(value, str) or (value is not None and not math.isfinite(value)):
                raise ValueError(f"{name} is a number, not {value!r}")
            parts += [0.0, 0.0] if value is None else [(value - centre) / scale, 1.0]
        return torch.tensor(parts, dtype=torch.float32)

    def vectors(self, facts: Sequence[Mapping[str, Value]]) -> Tensor:
        """(len(facts), size)."""
        return torch.stack([self.vector(one) for one in facts]) if facts else torch.zeros(0, self.size)


def for_batch(condition: Tensor, batch: int) -> Tensor:
    """The vectors (batch, size) of a batch.

    Args:
        condition: (size,) the same for all, or (batch, size) one for each.
        batch: elements of the batch.

    Raises:
        ValueError: there are vectors for another number of elements.
    """
    if condition.ndim == 1:
        return condition.expand(batch, -1)
    if len(condition) != batch:
        raise ValueError(f"facts are told of {len(condition)} images, and the batch holds {batch}")
    return condition
