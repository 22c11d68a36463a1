"""Compiled loops over the columns of a detector: projection, and its exact transpose.

The coefficients are distance-driven (De Man and Basu 2004): within a slab, the share of the column's width that a
voxel covers, times the share of the bin's height that it covers, times the length of the ray. Seen along ``z`` both
directions are differences of a running sum read between two of its entries: projection reads the running sum of the
voxels at the edges of the bins, the transpose reads the running sum of the bins at the edges of the voxels. The two
overlap alike, so that one is the other's transpose to rounding, and neither has a branch in its inner loop.

All arrays are contiguous; ``stride`` and ``across`` are the distances of neighbouring slabs and of neighbouring
voxels within a slab, counted in columns of voxels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Loop = TypeVar("Loop", bound=Callable[..., None])


def _compiled(loop: Loop) -> Loop:
    """Compile on first use for each precision, and keep the result on disk.

    The compiler may fuse a product and a sum; it may not reorder sums.
    """
    compiler = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
    return cast(Loop, compiler(loop))


@_compiled
def running_sums(volume: Array, first: int, last: int, sums: Array) -> None:
    """Sums below each voxel edge, of the rows ``first`` to ``last``: ``(z, y, x)`` -> ``(y, x, z + 1)``."""
    slices, _, columns = volume.shape
    total = np.empty(columns, np.float64)
    for y in range(first, last):
        total[:] = 0
        sums[y, :, 0] = 0
        for z in range(slices):
            for x in range(columns):
                total[x] += volume[z, y, x]
                sums[y, x, z + 1] = total[x]


@_compiled
def running_rays(rays: Array, table: Array, pitch: float, first: int, last: int, sums: Array) -> None:
    """Sums below each bin edge of the views ``first`` to ``last``, rays times their length.

    ``(view, row, column)`` -> ``(view, column, row + 1)``.
    """
    _, rows, columns = rays.shape
    total = np.empty(columns, np.float64)
    for view in range(first, last):
        total[:] = 0
        sums[view, :, 0] = 0
        for i in range(rows):
            for j in range(columns):
                numbers = table[view * columns + j]
                height = numbers[10] + i * pitch
                total[j] += rays[view, i, j] * (numbers[9] * math.sqrt(numbers[8] + height * height))
                sums[view, j, i + 1] = total[j]


@_compiled
def project(
    sums: Array,
    table: Array,
    todo: Array,
    pitch: float,
    slabs: int,
    lateral: int,
    stride: int,
    across: int,
    rays: Array,
) -> None:
    """Fill the columns ``todo`` of ``rays`` (view, row, column) from running sums ``(y x, z + 1)``."""
    edges, slices = sums.shape[1], sums.shape[1] - 1
    _, rows, columns = rays.shape
    number = sums.dtype.type
    column, edge, total = np.empty(edges, sums.dtype), np.empty(rows + 1, sums.dtype), np.empty(rows, sums.dtype)
    for n in range(len(todo)):
        numbers = table[todo[n]]
        total[:] = 0
        for s in range(slabs):
            one, other = numbers[0] + numbers[1] * s, numbers[2] + numbers[3] * s
            low, high = min(one, other), max(one, other)
            bottom, height = numbers[4] + numbers[5] * s, numbers[6] + numbers[7] * s
            top = bottom + height * rows
            if high <= 0 or low >= lateral or height <= 0 or top <= 0 or bottom >= slices:
                continue
            z0, z1 = int(max(bottom, 0.0)), min(math.ceil(min(top, slices * 1.0)), slices)
            # The mean over the column's width.
            k0, k1 = max(math.floor(low), 0), min(math.ceil(high), lateral)
            for k in range(k0, k1):
                share = number((min(high, k + 1.0) - max(low, k * 1.0)) / (high - low))
                voxels = sums[s * stride + k * across]
                if k == k0:
                    for z in range(z0, z1 + 1):
                        column[z] = share * voxels[z]
                else:
                    for z in range(z0, z1 + 1):
                        column[z] += share * voxels[z]
            # Read between its entries at the edges of the bins; beyond the volume it is constant.
            first = max(math.ceil(-bottom / height), 0)
            last = min(math.floor((slices - bottom) / height), rows) + 1
            begin, end = max(first - 1, 0), min(last + 1, rows + 1)
            for i in range(begin, first):
                edge[i] = column[z0]
            for i in range(first, last):
                at = bottom + height * i
                # On the edge of a voxel the end of the interval below it is read: the column is written up to z1 only.
                z = min(int(at), z1 - 1)
                edge[i] = column[z] + number(at - z) * (column[z + 1] - column[z])
            for i in range(last, end):
                edge[i] = column[slices]
            mean = number(1 / height)
            for i in range(begin, end - 1):
                total[i] += mean * (edge[i + 1] - edge[i])
        view, j = todo[n] // columns, todo[n] % columns
        for i in range(rows):
            height = numbers[10] + i * pitch
            rays[view, i, j] = total[i] * number(numbers[9] * math.sqrt(numbers[8] + height * height))


@_compiled
def backproject(
    sums: Array, table: Array, todo: Array, first: int, last: int, lateral: int, stride: int, across: int, voxels: Array
) -> None:
    """Add the columns ``todo`` of running sums ``(view x column, row + 1)`` to slabs of ``voxels`` (y x, z)."""
    rows, slices = sums.shape[1] - 1, voxels.shape[1]
    number = sums.dtype.type
    part = np.empty(slices + 1, sums.dtype)
    for s in range(first, last):
        for n in range(len(todo)):
            numbers = table[todo[n]]
            one, other = numbers[0] + numbers[1] * s, numbers[2] + numbers[3] * s
            low, high = min(one, other), max(one, other)
            if high <= 0 or low >= lateral:
                continue
            bottom, height = numbers[4] + numbers[5] * s, numbers[6] + numbers[7] * s
            top = bottom + height * rows
            if height <= 0 or top <= 0 or bottom >= slices:
                continue
            z0, z1 = int(max(bottom, 0.0)), min(math.ceil(min(top, slices * 1.0)), slices)
            rays = sums[todo[n]]
            for z in range(z0, z1 + 1):
                at = min(max((z - bottom) / height, 0.0), rows * 1.0)
                i = min(int(at), rows - 1)
                part[z] = rays[i] + number(at - i) * (rays[i + 1] - rays[i])
            for z in range(z0, z1):
                part[z] = part[z + 1] - part[z]
            k0, k1 = max(math.floor(low), 0), min(math.ceil(high), lateral)
            for k in range(k0, k1):
                share = number((min(high, k + 1.0) - max(low, k * 1.0)) / (high - low))
                column = voxels[s * stride + k * across]
                for z in range(z0, z1):
                    column[z] += share * part[z]
