"""The fully sampled centre of k-space, found in the sampling mask."""

from __future__ import annotations

from itertools import product

from torch import Tensor

from medldm.errors import InputRefused
from medldm_mri.centred_block import centred_block

# Fewer lines than this show no neighbourhood of samples to learn from. More samples than these, and more along one
# axis than these, change the maps little: few lines are made up for by their length.
LEAST, _SAMPLES, _LONGEST = 4, 24 * 24, 96


def calibration_region(mask: Tensor) -> tuple[slice, slice]:
    """A large fully sampled block around frequency zero (index ``n // 2``), as slices of ky and kx.

    Args:
        mask: (ky, kx), not zero where sampled.

    Raises:
        InputRefused: E-MRI-02 when there is no such block of at least 4 samples along each axis.
    """
    sampled = (mask != 0).cpu()
    lengths = [range(1, min(_LONGEST, n) + 1) for n in sampled.shape]
    sizes = [size for size in product(*lengths) if size[0] * size[1] <= _SAMPLES]
    # As wide as the calibration lines allow, then as long as is of use.
    sizes.sort(key=lambda size: (min(size), size[0] * size[1]), reverse=True)
    best = next((size for size in sizes if bool(sampled[centred_block(sampled.shape, size)].all())), (0, 0))
    if any(n < min(LEAST, size) for n, size in zip(best, sampled.shape, strict=True)):
        raise InputRefused(
            "E-MRI-02",
            f"The fully sampled centre of k-space has {best[0]} x {best[1]} samples (ky x kx).",
            why=f"Coil maps are estimated from at least {LEAST} neighbouring lines.",
            fix="Measure more calibration lines; SIMULATED measurements hold their own maps, operator.maps: simulated.",
        )
    return centred_block(sampled.shape, best)
