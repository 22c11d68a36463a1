"""A large image through a network in tiles, in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into overlapping tiles, in samples of the network's input.

    Neighbours overlap by ``2 halo + blend`` samples or more. What lies within ``halo`` of a cut is thrown away, and
    over the ``blend`` samples between, one tile fades into the next. So the result is that of the whole image where
    the network looks no further than ``halo`` samples and has no statistics of the whole image (group normalisation
    has); else the fading keeps seams from showing.

    Attributes:
        tile: samples of a tile along each axis, with its overlaps; axes no longer than that are not cut.
        halo: samples at each cut that are not used.
        blend: samples over which two tiles fade into one another.
        multiple: tiles start at multiples of this (strides and foldings of the network), which must divide all sizes.
    """

    tile: tuple[int, ...]
    halo: int
    blend: int = 0
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.halo < 0 or self.blend < 0 or any(n % self.multiple for n in self.tile):
            raise ValueError(f"halo and blend are not negative, and tiles {self.tile} multiples of {self.multiple}")
        if any(self._stride(n) < 1 for n in self.tile):
            raise ValueError(
                f"tiles of {self.tile} leave nothing between overlaps of 2 x {self.halo} + {self.blend} samples"
            )

    @classmethod
    def within(cls, sizes: tuple[int, ...], at_most: int | None, multiple: int = 1) -> Tiling | None:
        """Tiles no larger than ``at_most``, of which neighbours share about a quarter; None where one is enough."""
        if at_most is None or max(sizes) <= at_most:
            return None
        largest = max(at_most // multiple, 1) * multiple
        overlap = min(largest // 4, largest - multiple)
        halo = 2 * overlap // 5
        return cls((largest,) * len(sizes), halo, overlap - 2 * halo, multiple)

    def scaled(self, factor: int) -> Tiling:
        """The same tiles on an image with ``factor`` times as many samples along each axis."""
        return Tiling(
            tuple(n * factor for n in self.tile), *(n * factor for n in (self.halo, self.blend, self.multiple))
        )

    def starts(self, axis: int, n: int) -> list[int]:
        """First samples of the tiles along an axis of ``n`` samples; the last one ends with the image."""
        tile = self.tile[axis]
        if n <= tile:
            return [0]
        return [*range(0, n - tile, self._stride(tile)), n - tile]

    def _stride(self, tile: int) -> int:
        return (tile - 2 * self.halo - self.blend) // self.multiple * self.multiple


def tiled(function: Callable[[Tensor], Tensor], x: Tensor, tiling: Tiling) -> Tensor:
    """``function(x)``, tile after tile.

    Args:
        function: (batch, channel, *spatial) -> (batch, any channel, *spatial scaled by one ratio).
        x: (batch, channel, *spatial).
        tiling: one size per spatial axis.

    Returns:
        As ``function`` would, differentiable if it is.

    Raises:
        ValueError: a size of ``x`` is no multiple of ``tiling.multiple``, or tilings are for other dimensions.
    """
    sizes = tuple(x.shape[2:])
    if len(sizes) != len(tiling.tile) or any(n % tiling.multiple for n in sizes):
        raise ValueError(f"{tiling} does not fit an image of {sizes}")
    per_axis = [tiling.starts(axis, n) for axis, n in enumerate(sizes)]
    if all(len(starts) == 1 for starts in per_axis):
        return function(x)
    result: Tensor | None = None
    for corner in itertools.product(*(range(len(starts)) for starts in per_axis)):
        part = x
        for axis, i in enumerate(corner):
            part = part.narrow(axis + 2, per_axis[axis][i], min(tiling.tile[axis], sizes[axis]))
        out = function(part)
        ratio = Fraction(out.shape[2], part.shape[2])
        if (tiling.multiple * ratio).denominator != 1:
            raise ValueError(f"tiles at multiples of {tiling.multiple} do not fit a scale of {ratio}")
        if result is None:
            result = out.new_zeros(*out.shape[:2], *(int(n * ratio) for n in sizes))
        target = result
        for axis, i in enumerate(corner):
            starts, n = per_axis[axis], min(tiling.tile[axis], sizes[axis])
            target = target.narrow(axis + 2, int(starts[i] * ratio), out.shape[axis + 2])
            weight = _weight(starts, i, n, tiling.blend, ratio).to(out)
            out = out * weight.reshape(-1, *(1,) * (len(sizes) - axis - 1))
        target.add_(out)
    assert result is not None
    return result


def _weight(starts: list[int], i: int, tile: int, blend: int, ratio: Fraction) -> Tensor:
    """Weight of tile ``i`` at each of its output samples; those of all tiles add up to 1 everywhere."""
    # Positions are centres of output samples, measured in input samples.
    first = int(starts[i] * ratio)
    centres = (first + torch.arange(int(tile * ratio), dtype=torch.float64) + 0.5) / float(ratio)
    rise = _rise(centres, (starts[i] + starts[i - 1] + tile) / 2, blend) if i else torch.ones_like(centres)
    if i + 1 == len(starts):
        return rise
    # A difference, so that the sum over all tiles telescopes to 1 even where three of them overlap.
    return rise - _rise(centres, (starts[i + 1] + starts[i] + tile) / 2, blend)


def _rise(centres: Tensor, middle: float, width: int) -> Tensor:
    """From 0 to 1 over ``width`` samples around ``middle``."""
    return ((centres - middle) / width + 0.5).clamp(0, 1) if width else (centres >= middle).double()
