"""Linear interpolation between two grids in the patient, with its exact adjoint.

Every target voxel takes the value of the source's linear interpolant at its own centre. Where the axes of the two grids
are parallel (any scaling, shift, flip and exchange of axes) this separates into one banded matrix per axis; otherwise
trilinear interpolation gathers eight neighbours.

Antialiasing: where target voxels are coarser, m > 1 source voxels apart, the interpolant is averaged over
sqrt(m^2 - 1) source voxels around the centre, so that the variance of the source's box (1/12) grows to that of the
target's (m^2/12). The width vanishes at m = 1, constants and linear ramps are kept exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medldm.data.grid import Grid
from medldm.errors import InputRefused
from medldm.operators.linear import LinearOperator
from medldm.operators.space import Space

Border = Literal["clamp", "zero"]
# Centres closer than this part of a source voxel are the same: files round their affines to float32.
_SAME_VOXELS = 1e-4
_IDENTITY = 1e-9


def _hat_integral(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integral from -infinity to t of the hat function max(0, 1 - |t|)."""
    t = np.clip(t, -1, 1)
    return np.asarray(np.where(t < 0, 0.5 * (1 + t) ** 2, 1 - 0.5 * (1 - t) ** 2))


def axis_matrix(positions: NDArray[np.float64], size: int, width: float, border: Border) -> NDArray[np.float64]:
    """Weights (len(positions), size) of linear interpolation along one axis.

    Args:
        positions: where to interpolate, in source voxels.
        size: number of source voxels.
        width: the interpolant is averaged over this many source voxels around each position; 0 takes its value.
        border: beyond the outermost centres the image goes on constant (``clamp``) or falls to zero within one
            voxel (``zero``).
    """
    nodes = np.arange(size)
    inside = np.clip(positions, 0, size - 1) if border == "clamp" else positions
    if width < _IDENTITY:
        return np.asarray(np.maximum(0, 1 - np.abs(inside[:, None] - nodes)))
    low, high = positions - width / 2, positions + width / 2
    if border == "zero":
        return (_hat_integral(high[:, None] - nodes) - _hat_integral(low[:, None] - nodes)) / width
    clipped_low, clipped_high = np.clip(low, 0, size - 1), np.clip(high, 0, size - 1)
    weights = _hat_integral(clipped_high[:, None] - nodes) - _hat_integral(clipped_low[:, None] - nodes)
    weights[:, 0] += np.minimum(high, 0) - np.minimum(low, 0)
    weights[:, -1] += np.maximum(high, size - 1) - np.maximum(low, size - 1)
    return np.asarray(weights / width)


def _antialias_width(step: float) -> float:
    return float(np.sqrt(max(step * step - 1, 0)))


def _along(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """``matrix`` applied to ``axis`` (-3, -2 or -1) of ``x``; each of its rows makes one sample."""
    if axis == -1:
        return x @ matrix.T.to(x.dtype)
    if x.is_complex():
        return torch.view_as_complex(_along(matrix, torch.view_as_real(x), axis - 1))
    front, tail = x.shape[:axis], x.shape[axis + 1 :]
    mixed = matrix.to(x.dtype) @ x.reshape(*front, x.shape[axis], -1)
    return mixed.reshape(*front, matrix.shape[0], *tail)


class _Separable(LinearOperator):
    """One matrix per source axis, then the axes in the target's order."""

    def __init__(self, domain: Space, codomain: Space, matrices: list[NDArray[np.float64]], order: list[int]) -> None:
        super().__init__()
        self.domain, self.codomain = domain, codomain
        self._order = order
        real = torch.empty((), dtype=domain.dtype).real.dtype if domain.is_complex else domain.dtype
        identity = [m.shape[0] == m.shape[1] and np.abs(m - np.eye(len(m))).max() < _IDENTITY for m in matrices]
        # The axis that shrinks most comes first: the others then have less to do.
        ranked = sorted(range(3), key=lambda axis: matrices[axis].shape[0] / matrices[axis].shape[1])
        self._axes = [axis for axis in ranked if not identity[axis]]
        for axis in self._axes:
            self.register_buffer(f"matrix_{axis}", torch.from_numpy(matrices[axis]).to(real))

    def _matrix(self, axis: int) -> Tensor:
        return cast(Tensor, getattr(self, f"matrix_{axis}"))

    def _permuted(self, x: Tensor, order: list[int]) -> Tensor:
        batch = x.ndim - 3
        return x.permute(*range(batch), *(batch + axis for axis in order)).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        for axis in self._axes:
            x = _along(self._matrix(axis), x, axis - 3)
        # A copy even where nothing was to be done: an operator never hands its input back.
        return self._permuted(x, self._order).clone() if not self._axes else self._permuted(x, self._order)

    def adjoint(self, y: Tensor) -> Tensor:
        y = self._permuted(y, [self._order.index(axis) for axis in range(3)])
        for axis in reversed(self._axes):
            y = _along(self._matrix(axis).T, y, axis - 3)
        return y if self._axes else y.clone()


class _Trilinear(LinearOperator):
    """Eight neighbours of every target centre, slice by slice to bound the memory."""

    def __init__(self, domain: Space, codomain: Space, matrix: NDArray[np.float64], border: Border) -> None:
        super().__init__()
        self.domain, self.codomain = domain, codomain
        self._border = border
        self._matrix = matrix

    def _neighbours(self, k: int, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Flat source index and weight of each of the eight neighbours of target slice ``k``."""
        real = x.real.dtype if x.is_complex() else x.dtype
        steps = self._matrix.tolist()
        rows, columns = (torch.arange(n, device=x.device, dtype=torch.float64) for n in self.codomain.shape[1:])
        sides: list[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]] = []
        for axis, size in enumerate(self.domain.shape):
            along_z, along_y, along_x, origin = steps[axis]
            position = ((rows * along_y)[:, None] + (columns * along_x + (k * along_z + origin))).flatten()
            if self._border == "clamp":
                position.clamp_(0, size - 1)
            lower = position.floor()
            fraction = (position - lower).to(real)
            node, stride = lower.long(), math.prod(self.domain.shape[axis + 1 :])
            pair = []
            for index, weight in ((node, 1 - fraction), (node + 1, fraction)):
                inside = weight.masked_fill((index < 0) | (index >= size), 0)
                pair.append((index.clamp(0, size - 1) * stride, inside))
            sides.append((pair[0], pair[1]))
        for (index_z, weight_z), (index_y, weight_y) in product(*sides[:2]):
            index, weight = index_z + index_y, weight_z * weight_y
            for index_x, weight_x in sides[2]:
                yield index + index_x, weight * weight_x

    def forward(self, x: Tensor) -> Tensor:
        batch = self.domain.batch_shape(x)
        flat = x.reshape(*batch, -1)
        out = x.new_zeros((*batch, *self.codomain.shape))
        for k in range(self.codomain.shape[0]):
            target = out.select(len(batch), k).view(*batch, -1)
            for index, weight in self._neighbours(k, x):
                target += weight * flat.index_select(-1, index)
        return out

    def adjoint(self, y: Tensor) -> Tensor:
        batch = self.codomain.batch_shape(y)
        out = y.new_zeros((*batch, self.domain.size))
        for k in range(self.codomain.shape[0]):
            source = y.select(len(batch), k).reshape(*batch, -1)
            for index, weight in self._neighbours(k, y):
                out.index_add_(-1, index, weight * source)
        return out.reshape(*batch, *self.domain.shape)


def _parallel_axes(matrix: NDArray[np.float64], shape: tuple[int, ...]) -> list[int] | None:
    """For each target axis the source axis it runs along, None for oblique grids."""
    linear = matrix[:3, :3]
    order = [int(np.argmax(np.abs(linear[:, axis]))) for axis in range(3)]
    if sorted(order) != [0, 1, 2]:
        return None
    rest = linear.copy()
    rest[order, range(3)] = 0
    moved = np.abs(rest) @ (np.asarray(shape) - 1)
    return order if moved.max() < _SAME_VOXELS else None


class Resample(LinearOperator):
    """An image on one grid brought onto another by linear interpolation: native grid <-> prior grid.

    Args:
        source: grid of the input.
        target: grid of the output.
        border: beyond the source's outermost voxel centres, ``clamp`` repeats the outermost voxel (constants are kept
            everywhere) and ``zero`` falls to zero within one voxel.
        antialias: average over coarser target voxels; see the top of this file.
        dtype: of the images, real or complex.

    Raises:
        InputRefused: E-GEO-24 when the grids do not overlap in the patient.
    """

    def __init__(
        self,
        source: Grid,
        target: Grid,
        *,
        border: Border = "clamp",
        antialias: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.domain = Space(source.axes, source.shape, dtype)
        self.codomain = Space(target.axes, target.shape, dtype)
        # Target voxel -> source voxel, both in (z, y, x) order.
        matrix: NDArray[np.float64] = np.linalg.solve(source.affine, target.affine).astype(np.float64)
        _require_overlap(matrix, source, target)
        order = _parallel_axes(matrix, target.shape)
        stages: list[LinearOperator]
        if order is not None:
            matrices = [np.empty(0)] * 3
            for axis, along in enumerate(order):
                step = float(matrix[along, axis])
                positions = matrix[along, 3] + step * np.arange(target.shape[axis])
                # Rounding of the affines must not turn a copy into a blur.
                nearest = np.round(positions)
                positions = np.where(np.abs(positions - nearest) < _SAME_VOXELS, nearest, positions)
                width = _antialias_width(abs(step)) if antialias and abs(step) > 1 + _SAME_VOXELS else 0.0
                matrices[along] = axis_matrix(positions, source.shape[along], width, border)
            stages = [_Separable(self.domain, self.codomain, matrices, order)]
        else:
            stages = [_Trilinear(self.domain, self.codomain, matrix, border)]
            widths = [
                _antialias_width(float(np.linalg.norm(matrix[axis, :3]))) if antialias else 0.0 for axis in range(3)
            ]
            if max(widths) > np.sqrt(_SAME_VOXELS):
                blur = [
                    axis_matrix(np.arange(n, dtype=np.float64), n, width, border)
                    for n, width in zip(source.shape, widths, strict=True)
                ]
                stages.insert(0, _Separable(self.domain, self.domain, blur, [0, 1, 2]))
        self._stages = nn.ModuleList(stages)

    @property
    def separable(self) -> bool:
        """Whether the axes of both grids are parallel."""
        return isinstance(self._stages[-1], _Separable)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self._stages:
            x = cast(LinearOperator, stage).forward(x)
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        for stage in reversed(self._stages):
            y = cast(LinearOperator, stage).adjoint(y)
        return y


def _require_overlap(matrix: NDArray[np.float64], source: Grid, target: Grid) -> None:
    corners = np.array(list(product(*[(-0.5, n - 0.5) for n in target.shape])))
    seen = corners @ matrix[:3, :3].T + matrix[:3, 3]
    low, high = seen.min(0), seen.max(0)
    if (high <= -0.5).any() or (low >= np.asarray(source.shape) - 0.5).any():
        raise InputRefused(
            "E-GEO-24",
            f"The two grids do not overlap: {source.shape} voxels around {_center(source)} mm and "
            f"{target.shape} around {_center(target)} mm (LPS).",
            why="Nothing of the image would be left.",
            fix="Check that both scans are of one patient position and one frame of reference.",
        )


def _center(grid: Grid) -> tuple[float, ...]:
    return tuple(round(float(v), 1) for v in grid.world((np.asarray(grid.shape) - 1) / 2))
