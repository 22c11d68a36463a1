"""Lines of k-space that a reconstruction is tried on, see :class:`medldm.inference.withheld.CanWithhold`."""

from __future__ import annotations

from torch import Tensor

from medldm.inference import Noise
from medldm.inference.withheld import tenth_of


def withheld_lines(mask: Tensor, noise: Noise, centre: tuple[slice, slice] | None) -> Tensor:
    """A tenth of the sampled lines outside the centre of k-space, (ky, kx): 1 where withheld.

    Where the mask has no lines but points, or the centre touches all of its lines, a tenth of its points.

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
    """A tenth of the sampled lines, or of the samples where there are no lines to draw, (ky, kx): 1 where drawn.

    A mask of whole rows falls apart into rows, or else into columns, and the reverse: both are tried before its points.
    Something is always left; nothing is drawn where nothing is free.

    Args:
        sampled: (ky, kx), bool.
        noise: which of them is drawn.
        free: which may be drawn; all sampled ones when None.
    """
    sampled = sampled.cpu()
    free = sampled if free is None else free
    rows, columns = (bool((sampled == line).all()) for line in (sampled[:, :1], sampled[:1]))
    for along in (1, 0) if rows else (0, 1) if columns else ():
        some = sampled.any(along)
        drawn = tenth_of(some & (free | ~sampled).all(along), noise, measured=int(some.sum()))
        if bool(drawn.any()):
            return drawn.unsqueeze(along) * sampled
    return tenth_of(free.flatten(), noise, measured=int(sampled.sum())).reshape(sampled.shape)
