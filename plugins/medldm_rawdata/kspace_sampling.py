"""Which samples of k-space were measured, the same ones in all slices and coils."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem

# An exact zero may happen by chance in rounded data; so many do not.
CHANCE = 0.01


def sampled_points(
    kspace: NDArray[np.complex64], stated: NDArray[np.bool_] | None, name: str
) -> tuple[NDArray[np.bool_], tuple[Problem, ...]]:
    """The mask (ky, kx), (kz, ky, kx) or (shot, sample), and what to say of samples outside it that are not zero.

    A sample that is exactly zero in every slice and coil was not measured, whatever is stated: it was filled in.

    Args:
        kspace: (z, coil, ky, kx), (1, coil, kz, ky, kx) or (z, coil, shot, sample), zeros where nothing was measured.
        stated: mask that came with it, if any.
        name: of the file, for the messages.

    Raises:
        InputRefused: E-KSP-11 when slices or coils were sampled differently, E-KSP-18 when nothing was.
    """
    patterns = [plane != 0 for plane in kspace]
    filled = np.any([pattern.any(axis=0) for pattern in patterns], axis=0)
    mask = filled if stated is None else filled & stated
    count = int(mask.sum())
    if count == 0:
        raise InputRefused(
            "E-KSP-18",
            f"{name} holds no measured sample: all are zero{'' if stated is None else ' where its mask samples'}.",
            why="There is nothing to reconstruct from.",
            fix="Check that the measurement was exported completely.",
        )
    for z, pattern in enumerate(patterns):
        where = f" in slice {z}" if kspace.ndim == 4 else ""
        missing = {
            f"Slice {z}": 1 - pattern.any(axis=0)[mask].mean(),
            **{f"Coil {c}{where}": 1 - own[mask].mean() for c, own in enumerate(pattern)},
        }
        for who, share in missing.items():
            if share > CHANCE:
                raise InputRefused(
                    "E-KSP-11",
                    f"{who} of {name} lacks {share:.0%} of the samples that others have.",
                    why="One mask for all slices and coils explains the measurement.",
                    fix="Store slices that were sampled differently in files of their own, "
                    "and leave out coils that failed.",
                )
    outside = 0 if stated is None else sum(int(pattern.any(axis=0)[~mask].sum()) for pattern in patterns)
    told = f"{outside} samples outside the stated mask are not zero; they are left out."
    return mask, (Problem("E-KSP-24", "note", told),) if outside else ()


def whole_readouts(mask: NDArray[np.bool_], name: str) -> NDArray[np.bool_]:
    """The readouts (kz, ky) of a mask (kz, ky, kx) that has nothing else.

    Raises:
        InputRefused: E-KSP-07 when they lack samples.
    """
    readouts = np.asarray(mask.any(axis=-1), dtype=bool)
    sampled = mask[readouts].mean(axis=0)
    missing = int((sampled < 0.5).sum())
    if missing or sampled.mean() < 1 - CHANCE:
        raise InputRefused(
            "E-KSP-07",
            f"{name} is undersampled along kz, and {max(1, missing)} of {len(sampled)} samples of its readouts are "
            "missing as well.",
            why="A volume is reconstructed place by place along its readouts, which takes all of their samples; "
            "with a partial echo it must be fully sampled along kz.",
            fix="Fill in the readouts with the scanner's program first. In an array, name the axis kx that is fully "
            "sampled.",
        )
    return readouts


def full_centre(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Size of the fully sampled block around frequency zero, grown evenly and then along each axis.

    Args:
        mask: (ky, kx) of slices, or readouts (kz, ky) of a volume.
    """
    half = [0, 0]
    centre = [n // 2 for n in mask.shape]

    def full(a: int, b: int) -> bool:
        # A block of 2 h samples from n//2 - h, or the whole axis.
        block = (slice(max(0, c - h), c + max(1, h)) for c, h in zip(centre, (a, b), strict=True))
        return bool(mask[tuple(block)].all())

    if not mask[centre[0], centre[1]]:
        return 0, 0
    most = [(n + 1) // 2 for n in mask.shape]
    for grow in ((1, 1), (1, 0), (0, 1)):
        while True:
            wider = [h + g for h, g in zip(half, grow, strict=True)]
            if any(h > m for h, m in zip(wider, most, strict=True)) or not full(*wider):
                break
            half = wider
    height, width = (min(n, max(1, 2 * h)) for n, h in zip(mask.shape, half, strict=True))
    return height, width
