"""The fully sampled centre of k-space, found in the sampling mask."""

from __future__ import annotations

from torch import Tensor

from medldm.errors import InputRefused

# Fewer lines than this show no neighbourhood of samples to learn from; more than these change the maps little.
_LEAST, _ENOUGH = 4, 24


def calibration_region(mask: Tensor, *, largest: int = _ENOUGH) -> tuple[slice, slice]:
    """The fully sampled block around frequency zero (index ``n // 2``), as slices of ky and kx.

    Args:
        mask: (ky, kx), not zero where sampled.
        largest: number of samples of the block along each axis that is enough.

    Raises:
        InputRefused: E-MRI-02 when there is no such block of at least 4 samples along each axis.
    """
    sampled = (mask != 0).cpu()
    count = [0, 0]
    growing = [True, True]
    # Grow along both axes by turns, so that neither takes the whole of a region that is long in both.
    while any(growing):
        for axis in (0, 1):
            if growing[axis]:
                wider = [n + (axis == i) for i, n in enumerate(count)]
                wider = [max(1, n) for n in wider]
                fits = wider[axis] <= min(largest, sampled.shape[axis])
                growing[axis] = fits and bool(sampled[_block(sampled, wider)].all())
                count = wider if growing[axis] else count
    if min(count) < min(_LEAST, *sampled.shape):
        raise InputRefused(
            "E-MRI-02",
            f"The fully sampled centre of k-space has {count[0]} x {count[1]} samples (ky x kx).",
            why=f"Coil maps are estimated from at least {_LEAST} neighbouring lines.",
            fix="Measure more calibration lines, or give the coil maps (operator.maps: simulated).",
        )
    return _block(sampled, count)


def _block(sampled: Tensor, count: list[int]) -> tuple[slice, slice]:
    starts = [n // 2 - c // 2 for n, c in zip(sampled.shape, count, strict=True)]
    y, x = (slice(s, s + c) for s, c in zip(starts, count, strict=True))
    return y, x
