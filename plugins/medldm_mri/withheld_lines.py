"""Lines of k-space that a reconstruction is tried on, see :class:`medldm.inference.withheld.CanWithhold`."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.inference import Noise

_SHARE, _LEAST = 0.1, 2


def withheld_lines(mask: Tensor, noise: Noise, centre: tuple[slice, slice] | None) -> Tensor:
    """A tenth of the sampled lines outside the centre of k-space, (ky, kx): 1 where withheld.

    Where the mask has no lines but points, a tenth of its points.

    Args:
        mask: (ky, kx), not zero where sampled.
        noise: which of them is drawn.
        centre: what coil maps and phase are made of, if it is part of the measurement.
    """
    sampled = (mask != 0).cpu()
    spared = sampled.clone()
    if centre is not None:
        spared[centre] = False
    return drawn_tenth(sampled, noise, spared)


def drawn_tenth(sampled: Tensor, noise: Noise, free: Tensor | None = None) -> Tensor:
    """A tenth of the sampled lines, or of the samples where the mask has no lines, (ky, kx): 1 where drawn.

    Args:
        sampled: (ky, kx), bool.
        noise: which of them is drawn.
        free: which may be drawn; all sampled ones when None.
    """
    sampled = sampled.cpu()
    free = sampled if free is None else free
    if bool((sampled == sampled[:, :1]).all()):
        return _drawn(free.all(1), noise)[:, None].expand(sampled.shape)
    if bool((sampled == sampled[:1]).all()):
        return _drawn(free.all(0), noise)[None].expand(sampled.shape)
    return _drawn(free.flatten(), noise).reshape(sampled.shape)


def _drawn(candidates: Tensor, noise: Noise) -> Tensor:
    places = candidates.nonzero().flatten()
    many = min(len(places), max(_LEAST, round(_SHARE * len(places))))
    order = torch.from_numpy(noise.stream("withheld").permutation(len(places))[:many])
    drawn = torch.zeros(len(candidates))
    drawn[places[order]] = 1
    return drawn
