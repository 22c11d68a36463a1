"""Projection and its transpose by compiled loops, on all threads that torch may use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medldm_ct.cone import kernels
from medldm_ct.cone.column_table import ColumnTable
from medldm_ct.cone.geometry import ConeBeam, VoxelBox

Array = NDArray[Any]
# Columns that one thread takes at a time, and slabs.
_COLUMNS, _SLABS = 256, 8
# Numbers in the running sums of views that exist at a time (64 MiB in float32).
_NUMBERS = 1 << 24


class CompiledPair:
    """``A`` and ``A^T`` of an upright scan on the CPU, float32 or float64.

    Args:
        beam: whose columns run along ``z``.
        box: the voxels.
    """

    def __init__(self, beam: ConeBeam, box: VoxelBox) -> None:
        self.box, self.shape = box, beam.shape
        # Rows are counted upwards below; a detector that counts them downwards is turned at the door.
        self.downwards = float(beam.v[0, 2]) < 0
        self.table = ColumnTable.of(beam, box)
        self.pitch = beam.detector.row_pitch

    def project(self, x: Tensor) -> Tensor:
        """``(z, y, x)`` -> ``(view, row, column)``."""
        slices, ny, nx = self.box.shape
        volume: Array = x.contiguous().numpy()
        sums = np.empty((ny, nx, slices + 1), volume.dtype)
        rays = np.empty(self.shape, volume.dtype)
        _in_threads(kernels.running_sums, ((volume, *rows, sums) for rows in _parts(ny, _SLABS)))
        flat = sums.reshape(ny * nx, slices + 1)

        def jobs() -> Iterable[tuple[Any, ...]]:
            for along_y, slabs, lateral, stride, across in self._directions():
                todo = np.flatnonzero(self.table.along_y == along_y)
                for start, stop in _parts(len(todo), _COLUMNS):
                    numbers = self.table.numbers
                    yield flat, numbers, todo[start:stop], self.pitch, slabs, lateral, stride, across, rays

        _in_threads(kernels.project, jobs())
        result = torch.from_numpy(rays)
        return result.flip(1) if self.downwards else result

    def backproject(self, y: Tensor) -> Tensor:
        """``(view, row, column)`` -> ``(z, y, x)``, the exact transpose of :meth:`project`."""
        slices, ny, nx = self.box.shape
        views, rows, columns = self.shape
        rays: Array = (y.flip(1) if self.downwards else y).contiguous().numpy()
        voxels = np.zeros((ny * nx, slices), rays.dtype)
        at_once = max(1, _NUMBERS // ((rows + 1) * columns))
        for start, stop in _parts(views, at_once):
            table = self.table.numbers[start * columns : stop * columns]
            along = self.table.along_y[start * columns : stop * columns]
            sums = np.empty((stop - start, columns, rows + 1), rays.dtype)
            some = rays[start:stop]
            _in_threads(
                kernels.running_rays,
                ((some, table, self.pitch, view, view + 1, sums) for view in range(stop - start)),
            )
            flat = sums.reshape(-1, rows + 1)
            # One after the other: the slabs of one direction cross those of the other.
            for along_y, slabs, lateral, stride, across in self._directions():
                todo = np.flatnonzero(along == along_y)
                _in_threads(
                    kernels.backproject,
                    ((flat, table, todo, *part, lateral, stride, across, voxels) for part in _parts(slabs, _SLABS)),
                )
        return torch.from_numpy(voxels).view(ny, nx, slices).permute(2, 0, 1).contiguous()

    def _directions(self) -> Iterable[tuple[bool, int, int, int, int]]:
        """Of the columns followed along y and along x: slabs, voxels across, and the strides of both."""
        _, ny, nx = self.box.shape
        return (True, ny, nx, nx, 1), (False, nx, ny, 1, nx)


def _parts(n: int, size: int) -> Iterable[tuple[int, int]]:
    return ((start, min(start + size, n)) for start in range(0, n, size))


def _in_threads(work: Callable[..., None], jobs: Iterable[tuple[Any, ...]]) -> None:
    """Every job once; jobs write to places of their own, so their order does not matter."""
    threads = torch.get_num_threads()
    if threads == 1:
        for job in jobs:
            work(*job)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, *job) for job in jobs]:
            done.result()
