"""Blocks of k-space around frequency zero, which stands at index ``n // 2`` of the whole and of the block."""

from __future__ import annotations

from collections.abc import Sequence


def centred_block(shape: Sequence[int], sizes: Sequence[int]) -> tuple[slice, slice]:
    """Where a block of ``sizes`` (ky, kx) lies in a plane of ``shape`` (ky, kx)."""
    rows, columns = (centred(n, m) for n, m in zip(shape, sizes, strict=True))
    return rows, columns


def centred(n: int, count: int) -> slice:
    """Where ``count`` samples lie in an axis of ``n``."""
    first = n // 2 - count // 2
    return slice(first, first + count)
