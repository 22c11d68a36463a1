"""A prior of slices seen as a prior of volumes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medldm.inference.live_memory import live_bytes
from medldm.inference.pixel_prior import check_state
from medldm.inference.prior import BoundPrior
from medldm.operators import Space

# From 2 to 16 at once a slice takes a processor the same time (within 10 %, slices of 160 x 160); fewer hold less.
SLICES_ON_CPU = 4


class SlicewisePrior(nn.Module):
    """Every slice on its own: a :class:`medldm.inference.BoundPrior` of (z, *inner).

    Slices and samples are one batch to the inner prior, cut into parts; how, does not change the result but for the
    rounding of the libraries beneath.

    Args:
        inner: prior of one slice.
        slices: how many there are.
        slices_at_once: how many the networks see at a time, which bounds the memory.
        recompute: where a gradient is asked for, keep no activations of the networks but compute them again part by
            part, so that ``slices_at_once`` bounds the memory then too; a gradient costs one evaluation more.
    """

    def __init__(self, inner: BoundPrior, slices: int, *, slices_at_once: int = 8, recompute: bool = False) -> None:
        super().__init__()
        if slices_at_once < 1:
            raise ValueError(f"at least one slice at once, not {slices_at_once}")
        self.inner = inner
        self.slices_at_once = slices_at_once
        self.recompute = recompute
        self.space = stacked(inner.space, slices)
        self.image = stacked(inner.image, slices)
        self.latent = inner.latent
        self.sigma_min, self.sigma_max = inner.sigma_min, inner.sigma_max
        self.gain, self.error = inner.gain, inner.error
        self.decode_gradient = inner.decode_gradient

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        check_state(self.space, x, sigma)
        return self._slices(self.inner.denoise, x, sigma.repeat_interleave(self.space.shape[0]))

    def encode(self, x: Tensor) -> Tensor:
        """(batch, z, *inner image) -> (batch, z, *inner space)."""
        self.image.check(x, "encode")
        return self._slices(self.inner.encode, x) if self.latent else x

    def decode(self, z: Tensor) -> Tensor:
        """(batch, z, *inner space) -> (batch, z, *inner image)."""
        self.space.check(z, "decode")
        return self._slices(self.inner.decode, z) if self.latent else z

    def _slices(self, function: Callable[..., Tensor], x: Tensor, *each: Tensor) -> Tensor:
        inputs = (x.flatten(0, 1), *each)
        parts = zip(*(torch.split(tensor, self.slices_at_once) for tensor in inputs), strict=True)
        done = torch.cat([in_part(function, part, recompute=self.recompute) for part in parts])
        # Networks leave their own order in memory, which no saved state keeps, and a convolution rounds by it.
        return done.reshape(*x.shape[:2], *done.shape[1:]).contiguous()


def stacked(slice_: Space, slices: int) -> Space:
    """The space of ``slices`` elements, along an axis ``z`` in front."""
    return Space(("z", *slice_.axes), (slices, *slice_.shape), slice_.dtype)


def in_part(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], *, recompute: bool) -> Tensor:
    """``function(*inputs)``; with ``recompute``, a gradient through it runs it again in place of remembering it."""
    if recompute and torch.is_grad_enabled():
        result: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
        return result
    return function(*inputs)


def bytes_per_slice(inner: BoundPrior, device: torch.device | str | None = None) -> int:
    """Bytes that one slice (or slab) needs in the networks at their peak, measured on an empty one, without gradient.

    Args:
        inner: prior of one slice or slab.
        device: where its networks are.
    """
    state = inner.space.zeros(1, device=device)
    sigma = torch.full((1,), inner.sigma_max, device=device)
    works: list[Callable[[], object]] = [lambda: inner.denoise(state, sigma)]
    if inner.latent:
        image = inner.image.zeros(1, device=device)
        works += [lambda: inner.encode(image), lambda: inner.decode(state)]
    with torch.no_grad():
        return max(live_bytes(work) for work in works)


def slices_within(budget: int, inner: BoundPrior, slices: int, device: torch.device | str | None = None) -> int:
    """The largest useful ``slices_at_once`` for ``budget`` bytes; one where not even one fits.

    Args:
        budget: bytes for the networks' activations, beside weights and volumes.
        inner: prior of one slice or slab.
        slices: how many there are altogether, samples included.
        device: where its networks are.
    """
    return max(1, min(slices, budget // max(1, bytes_per_slice(inner, device))))
