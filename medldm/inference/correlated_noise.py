"""Noise that neighbouring slices share: a smooth Gaussian process along the stack, white within each slice.

A slice on its own is exactly white N(0, 1) per real component, so a prior of slices sees nothing unusual; what changes
is that neighbours get similar noise and so the same texture.

The process is white noise on a lattice of knots, smoothed by ``w(d) = exp(-d^2 / l^2)``, whose autocorrelation is the
squared exponential ``exp(-d^2 / (2 l^2))`` up to 2e-7 for knots every ``l / 2`` and weights cut off at ``4 l``
(Poisson's summation formula; Higdon 2002, process convolutions). So no matrix of all slices is factorised, uneven
spacing needs nothing special, a stack of any length is drawn in blocks, and a long kernel takes fewer random numbers
than white noise does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from medldm.inference.noise import Noise

KNOTS_PER_LENGTH = 2
REACH = 4.0
# Beyond this many lengths the correlation is below 2e-8.
_APART = 6.0
_SLICES_AT_ONCE = 32


@dataclass(frozen=True)
class SliceStack:
    """Where the slices of a tensor lie.

    Attributes:
        ndim: number of axes of the tensor, the sample axis included.
        axis: along which its slices are stacked.
        positions: of the slices in mm, increasing, evenly spaced or not.
    """

    ndim: int
    axis: int
    positions: tuple[float, ...]

    def __post_init__(self) -> None:
        pairs = zip(self.positions, self.positions[1:], strict=False)
        if not 0 < self.axis < self.ndim or not self.positions or any(not b > a for a, b in pairs):
            raise ValueError(f"slices lie along an axis behind that of samples, at increasing places, not {self}")


@dataclass(frozen=True)
class CorrelatedNoise(Noise):
    """:class:`Noise` whose :meth:`like` is correlated from slice to slice; all else is white as it was.

    ``like`` serves states of a prior and their images. Noise of measurements, masks and counts come from the other
    methods.

    Attributes:
        stacks: of the prior's state, and of its image where that is another tensor.
        length_mm: of the kernel ``exp(-d^2 / (2 length_mm^2))``; zero is white.
    """

    stacks: tuple[SliceStack, ...] = ()
    length_mm: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.length_mm < math.inf and self.stacks):
            raise ValueError(f"a finite length and a stack of slices are needed, not {self}")

    @classmethod
    def of(cls, noise: Noise, length_mm: float, *stacks: SliceStack) -> Self:
        """The correlated form of a source of noise."""
        return cls(noise.seed, noise.case, stacks, length_mm, first_sample=noise.first_sample, branch=noise.branch)

    def like(self, x: Tensor, purpose: str, *, step: int) -> Tensor:
        """Noise of the shape of ``x``, N(0, 1) per real component, correlated along its stack.

        Addressed by (seed, case, purpose, step, sample) and place along the stack, as white noise is.

        Raises:
            ValueError: ``x`` is none of the tensors whose stacks are known.
        """
        stack = self._stack_of(x)
        knots = self._knots[self.stacks.index(stack)]
        if knots is None:
            return super().like(x, purpose, step=step)
        moved = x.movedim(stack.axis, 1)
        inner = (*moved.shape[2:], 2) if x.is_complex() else tuple(moved.shape[2:])
        out = torch.empty((*moved.shape[:2], *inner), dtype=torch.float32, device=x.device)
        for at in range(len(out)):
            sample = self.first_sample + at
            drawn: dict[int, Tensor] = {}
            for first in range(0, out.shape[1], _SLICES_AT_ONCE):
                index, weights = knots.block(first, first + _SLICES_AT_ONCE)
                drawn = {
                    j: drawn[j] if j in drawn else self._field(inner, purpose, step, sample, j).to(x.device)
                    for j in index
                }
                fields = torch.stack(list(drawn.values())).flatten(1)
                part = weights.to(x.device) @ fields
                out[at, first : first + len(part)] = part.reshape(-1, *inner)
        noise = torch.view_as_complex(out) if x.is_complex() else out
        return noise.movedim(1, stack.axis).to(x.dtype).contiguous()

    def _field(self, shape: tuple[int, ...], purpose: str, step: int, sample: int, knot: int) -> Tensor:
        stream = self.stream(purpose, step=step, sample=sample, slice_=knot)
        return torch.from_numpy(stream.standard_normal(shape, dtype="float32"))

    def _stack_of(self, x: Tensor) -> SliceStack:
        for stack in self.stacks:
            if x.ndim == stack.ndim and x.shape[stack.axis] == len(stack.positions):
                return stack
        raise ValueError(f"noise is correlated between the slices of {self.stacks}, not of a tensor {tuple(x.shape)}")

    @cached_property
    def _knots(self) -> tuple[Knots | None, ...]:
        return tuple(Knots.of(stack.positions, self.length_mm) for stack in self.stacks)


@dataclass(frozen=True, eq=False)
class Knots:
    """The weights of each slice on its knots.

    Attributes:
        first: (slice,) number of each slice's first knot, counted from the first one of the stack.
        weights: (slice, knot) float64 with unit sum of squares, which makes the marginals exact.
    """

    first: Tensor
    weights: Tensor

    @classmethod
    def of(cls, positions: tuple[float, ...], length: float) -> Knots | None:
        """None where all slices are further apart than the kernel reaches: white noise."""
        z = torch.tensor(positions, dtype=torch.float64)
        if length == 0 or len(z) == 1 or float(z.diff().min()) > _APART * length:
            return None
        step = length / KNOTS_PER_LENGTH
        first = torch.ceil((z - REACH * length) / step)
        index = first[:, None] + torch.arange(int(2 * REACH * KNOTS_PER_LENGTH) + 1)
        distance = index * step - z[:, None]
        weights = torch.exp(-((distance / length) ** 2))
        weights = torch.where(distance <= REACH * length, weights, 0)
        weights = weights / torch.linalg.vector_norm(weights, dim=1, keepdim=True)
        return cls((first - first[0]).long(), weights)

    def block(self, start: int, stop: int) -> tuple[list[int], Tensor]:
        """The knots that slices ``start`` to ``stop`` need, and their weights (slice, knot) float32."""
        first, weights = self.first[start:stop], self.weights[start:stop]
        index = first[:, None] + torch.arange(weights.shape[1])
        used, place = torch.unique(index, return_inverse=True)
        dense = torch.zeros((len(first), len(used)), dtype=weights.dtype).scatter_(1, place, weights)
        return used.tolist(), dense.float()

    def covariance(self) -> Tensor:
        """(slice, slice) float64: exactly that of the noise drawn."""
        _, dense = self.block(0, len(self.first))
        return dense.double() @ dense.double().T
