"""The fully sampled centre of k-space, found in the sampling mask."""

from __future__ import annotations

from itertools import product

from torch import Tensor

from medldm.errors import InputRefused

# Fewer lines than this show no neighbourhood of samples to learn from; more than these change the maps little.
_LEAST, _ENOUGH = 4, 24


def calibration_region(mask: Tensor) -> tuple[slice, slice]:
    """The largest fully sampled block around frequency zero (index ``n // 2``), as slices of ky and kx.

    Args:
        mask: (ky, kx), not zero where sampled.

    Raises:
        InputRefused: E-MRI-02 when there is no such block of at least 4 samples along each axis.
    """
    sampled = (mask != 0).cpu()
    limits = [min(_ENOUGH, n) for n in sampled.shape]
    best = (0, 0)
    for ny, nx in product(*(range(1, limit + 1) for limit in limits)):
        if ny * nx > best[0] * best[1] and bool(sampled[_block(sampled, ny, nx)].all()):
            best = (ny, nx)
    if any(n < min(_LEAST, size) for n, size in zip(best, sampled.shape, strict=True)):
        raise InputRefused(
            "E-MRI-02",
            f"The fully sampled centre of k-space has {best[0]} x {best[1]} samples (ky x kx).",
            why=f"Coil maps are estimated from at least {_LEAST} neighbouring lines.",
            fix="Measure more calibration lines, or use maps that the measurement holds: operator.maps: simulated.",
        )
    return _block(sampled, *best)


def _block(sampled: Tensor, ny: int, nx: int) -> tuple[slice, slice]:
    top, left = (n // 2 - count // 2 for n, count in zip(sampled.shape, (ny, nx), strict=True))
    return slice(top, top + ny), slice(left, left + nx)
