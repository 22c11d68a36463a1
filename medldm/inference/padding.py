"""Bringing an image to a size that a network takes, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Padding:
    """Samples added in front of and behind the last axes of a tensor.

    The image is continued by reflection. It carries white noise, and reflected noise is white where the network looks;
    replicated noise would be stripes, and zeros an edge, neither of which it has been trained on.

    Attributes:
        shape: of the image, the last axes of what is padded.
        before: samples in front, one number per axis.
        after: samples behind.
    """

    shape: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def to_fit(cls, shape: tuple[int, ...], *, multiple: int = 1, at_least: int = 1) -> Padding:
        """The smallest padding, even on both sides, to multiples of ``multiple`` no smaller than ``at_least``."""
        added = [-(-max(n, at_least) // multiple) * multiple - n for n in shape]
        return cls(shape, tuple(n // 2 for n in added), tuple(n - n // 2 for n in added))

    @property
    def padded(self) -> tuple[int, ...]:
        """Sizes with the padding."""
        return tuple(b + n + a for b, n, a in zip(self.before, self.shape, self.after, strict=True))

    def pad(self, x: Tensor) -> Tensor:
        """(..., *shape) -> (..., *padded)."""
        for axis, (before, n, after) in enumerate(zip(self.before, self.shape, self.after, strict=True)):
            if before or after:
                index = reflected(torch.arange(-before, n + after, device=x.device), n)
                x = x.index_select(x.ndim - len(self.shape) + axis, index)
        return x

    def crop(self, x: Tensor) -> Tensor:
        """(..., *padded) -> (..., *shape), what :meth:`pad` had added left out."""
        for axis, (before, n) in enumerate(zip(self.before, self.shape, strict=True)):
            x = x.narrow(x.ndim - len(self.shape) + axis, before, n)
        return x


def reflected(index: Tensor, n: int) -> Tensor:
    """Any integer index into an axis of ``n`` samples, reflected at its ends as often as needed, the ends not doubled.

    Unlike PyTorch's padding, this also takes axes shorter than what is added to them.
    """
    if n == 1:
        return torch.zeros_like(index)
    period = 2 * (n - 1)
    folded = index.remainder(period)
    return torch.minimum(folded, period - folded)
