"""Coefficients of the system matrix: distance-driven footprints (De Man and Basu 2004).

Each ray is followed along the image axis that it is closer to, one row (or column) of pixels at a time. The edges of
its detector bin and those of the pixels are compared on that row; the coefficient is the share of the bin's interval
that the pixel covers, times the ray's length within the row. So a value of the projection is the *mean over the bin*
of the line integrals, whatever the ratio of bin to pixel, and neither projection nor back-projection shows the Moire
pattern of ray-driven interpolation.

The forward matrix is generated ray by ray and its transpose pixel by pixel, from the same table of rays by the same
float64 arithmetic, so that both hold bitwise equal numbers without sorting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from medldm_ct.geometry import Geometry, ImagePlane

PAPER = (
    "B. De Man, S. Basu. Distance-driven projection and backprojection in three dimensions. Physics in Medicine and "
    "Biology 49(11), 2463-2475, 2004."
)
# Overlaps of bin and pixel below this share of a pixel are left out of both matrices.
_NEGLIGIBLE = 1e-7
# Crossings handled at a time by one thread: they stay in the second-level cache.
_CHUNK = 1 << 17

_Rows = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class RayTable:
    """Where the bin edges of each ray cross the pixel rows that it traverses.

    In units of pixels, pixel ``k`` covering ``[k, k + 1]``, the edges of ray ``r`` cross step ``i`` at
    ``low[0, r] + low[1, r] i`` and ``high[0, r] + high[1, r] i``.

    Attributes:
        low, high: (2, ray) float64.
        length: (ray,) length within one step in mm.
        along_y: (ray,) True where the steps are rows and the crossing is a column.
    """

    low: Tensor
    high: Tensor
    length: Tensor
    along_y: Tensor

    @classmethod
    def of(cls, geometry: Geometry, plane: ImagePlane) -> RayTable:
        """The rays of a scan seen from the pixels of an image, in the order (view, bin)."""
        (ny, nx), (dy, dx) = plane.shape, plane.spacing
        theta, _ = geometry.lines(geometry.centres())
        cos, sin = theta.cos().abs(), theta.sin().abs()
        # At 45 degrees mirrored views must choose alike, whatever the rounding.
        along_y = cos >= sin - 1e-9
        edge_theta, edge_s = geometry.lines(geometry.edges())
        edge_cos, edge_sin = edge_theta.cos(), edge_theta.sin()

        def crossing(lateral: Tensor, axial: Tensor, step: float, steps: int, size: float, n: int) -> Tensor:
            offset = (edge_s + (steps - 1) / 2 * step * axial) / (lateral * size) + n / 2
            return torch.stack([offset, -step * axial / (lateral * size)])

        rows = crossing(edge_cos, edge_sin, dy, ny, dx, nx)
        columns = crossing(edge_sin, edge_cos, dx, nx, dy, ny)
        first = torch.where(along_y, rows[..., :-1], columns[..., :-1])
        second = torch.where(along_y, rows[..., 1:], columns[..., 1:])
        rising = torch.where(along_y, theta.cos(), theta.sin()) > 0
        return cls(
            low=torch.where(rising, first, second).flatten(1),
            high=torch.where(rising, second, first).flatten(1),
            length=torch.where(along_y, dy / cos, dx / sin).flatten(),
            along_y=along_y.flatten(),
        )


def _compressed(weight: Tensor, index: Tensor, dtype: torch.dtype) -> _Rows:
    """Entries per row, their indices and values, of ``(row, candidate)`` arrays whose unused weights are 0."""
    kept = weight > 0
    return kept.sum(1), index[kept].int(), weight[kept].to(dtype)


def _in_parallel(work: Callable[[int], _Rows], starts: range) -> Iterator[_Rows]:
    """``map(work, starts)`` with one chunk per thread: many short operations gain nothing from threads inside each."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, starts)
    finally:
        torch.set_num_threads(threads)


def ray_rows(geometry: Geometry, plane: ImagePlane, table: RayTable, dtype: torch.dtype) -> Iterator[_Rows]:
    """Rows of the forward matrix, some rays at a time: entries per ray, pixel indices, values in mm."""
    (ny, nx), rays = plane.shape, geometry.rays
    steps = max(ny, nx)
    step = torch.arange(steps, dtype=torch.float64)
    last = torch.tensor([[1.0], [steps - 1.0]], dtype=torch.float64)
    widths = (table.high - table.low)[0] + last * (table.high - table.low)[1]
    taps = 1 + math.ceil(float(widths.max()) - 1e-9)
    size = max(1, _CHUNK // steps)

    def some(start: int) -> _Rows:
        part = slice(start, start + size)
        low = table.low[0, part, None] + table.low[1, part, None] * step
        high = table.high[0, part, None] + table.high[1, part, None] * step
        share = table.length[part, None] / (high - low)
        first = low.floor()
        along_y = table.along_y[part, None]
        pixels = torch.where(along_y, nx, ny)
        if ny != nx:
            share = torch.where(step < torch.where(along_y, ny, nx), share, 0.0)
        weights, indices = [], []
        for tap in range(taps):
            k = first + tap
            overlap = torch.minimum(high, k + 1) - torch.maximum(low, k)
            inside = (overlap > _NEGLIGIBLE) & (k >= 0) & (k < pixels)
            weights.append(torch.where(inside, overlap * share, 0.0))
            indices.append(torch.where(along_y, step * nx + k, k * nx + step))
        return _compressed(torch.stack(weights, -1).flatten(1), torch.stack(indices, -1).flatten(1), dtype)

    return _in_parallel(some, range(0, rays, size))


def pixel_rows(geometry: Geometry, plane: ImagePlane, table: RayTable, dtype: torch.dtype) -> Iterator[_Rows]:
    """Rows of the transposed matrix, some image rows at a time: entries per pixel, ray indices, values in mm."""
    (ny, nx), bins = plane.shape, geometry.bins
    by_view = table.along_y.view(geometry.views, bins)
    groups = [(True, by_view.any(1).nonzero().flatten()), (False, (~by_view).any(1).nonzero().flatten())]
    parts = [(axis, views, geometry.with_views(views.tolist())) for axis, views in groups if len(views)]
    size = max(1, _CHUNK // (nx * geometry.views))

    def some(start: int) -> _Rows:
        rows = torch.arange(start, min(start + size, ny), dtype=torch.float64)
        found = [_bins_over_pixels(part, plane, table, rows, axis, views) for axis, views, part in parts]
        weight = torch.cat([w for w, _ in found], 1)
        index = torch.cat([i for _, i in found], 1)
        return _compressed(weight, index, dtype)

    return _in_parallel(some, range(0, ny, size))


def _bins_over_pixels(
    part: Geometry, plane: ImagePlane, table: RayTable, rows: Tensor, along_y: bool, views: Tensor
) -> tuple[Tensor, Tensor]:
    """``(pixel, view x tap)`` weights and ray indices of the bins that cover each pixel, of one kind of ray."""
    (ny, nx), (dy, dx), bins = plane.shape, plane.spacing, part.bins
    columns = torch.arange(nx, dtype=torch.float64)
    # The pixel's two edges on its row (or column) are seen at these fractional bin edges.
    if along_y:
        edge_y, edge_x = rows + 0.5, torch.arange(nx + 1, dtype=torch.float64)
        step, k = rows[:, None, None], columns[None, :, None]
    else:
        edge_y, edge_x = torch.cat([rows, rows[-1:] + 1]), columns + 0.5
        step, k = columns[None, :, None], rows[:, None, None]
    y, x = (edge_y[:, None, None] - ny / 2) * dy, (edge_x[None, :, None] - nx / 2) * dx
    seen = (part.positions(y, x) - part.offset) / part.pitch + bins / 2
    a, b = (seen[:, :-1], seen[:, 1:]) if along_y else (seen[:-1], seen[1:])
    first = torch.minimum(a, b)
    taps = 1 + math.ceil(float((a - b).abs().max()) - 1e-9)
    base = first.floor().long()
    weights, indices = [], []
    for tap in range(taps):
        j = base + tap
        ray = j.clamp(0, bins - 1) + views * bins
        low = table.low[0].take(ray) + table.low[1].take(ray) * step
        high = table.high[0].take(ray) + table.high[1].take(ray) * step
        share = table.length.take(ray) / (high - low)
        overlap = torch.minimum(high, k + 1) - torch.maximum(low, k)
        inside = (overlap > _NEGLIGIBLE) & (j >= 0) & (j < bins) & (table.along_y.take(ray) == along_y)
        weights.append(torch.where(inside, overlap * share, 0.0))
        indices.append(ray)
    return torch.stack(weights, -1).flatten(0, 1).flatten(1), torch.stack(indices, -1).flatten(0, 1).flatten(1)
