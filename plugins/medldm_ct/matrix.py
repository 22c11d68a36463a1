"""The system matrix of one slice and its transpose as compressed sparse rows, shared between operators."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.operators import SparseRows
from medldm_ct.footprint import RayTable, pixel_rows, ray_rows
from medldm_ct.geometry import FanBeam, Geometry, ImagePlane


@dataclass(frozen=True, eq=False)
class SystemMatrix:
    """``A`` and ``A^T`` of one slice; values are lengths in mm."""

    forward: SparseRows
    transposed: SparseRows


def _stacked(rows: Iterator[tuple[Tensor, Tensor, Tensor]], columns: int) -> SparseRows:
    counts: list[Tensor] = []
    indices: list[Tensor] = []
    values: list[Tensor] = []
    for count, index, value in rows:
        counts.append(count)
        indices.append(index)
        values.append(value)
    pointer = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cat(counts).cumsum(0)])
    joined = torch.cat(indices)
    # Not both lists twice at a time: a set-up takes half as much again as the matrix.
    indices.clear()
    return SparseRows(pointer.int(), joined, torch.cat(values), columns)


def build_forward(geometry: Geometry, plane: ImagePlane, dtype: torch.dtype) -> SparseRows:
    """``A`` alone, ``(view x bin, y x x)``; not cached."""
    _check_size(geometry, plane)
    table = RayTable.of(geometry, plane)
    return _stacked(ray_rows(geometry, plane, table, dtype), plane.size)


def _build(geometry: Geometry, plane: ImagePlane, dtype: torch.dtype) -> SystemMatrix:
    _check_size(geometry, plane)
    table = RayTable.of(geometry, plane)
    return SystemMatrix(
        _stacked(ray_rows(geometry, plane, table, dtype), plane.size),
        _stacked(pixel_rows(geometry, plane, table, dtype), geometry.rays),
    )


_shared: WeakValueDictionary[tuple[Geometry, ImagePlane, torch.dtype], SystemMatrix] = WeakValueDictionary()


def system_matrix(geometry: Geometry, plane: ImagePlane, dtype: torch.dtype = torch.float32) -> SystemMatrix:
    """The matrix of a geometry on the CPU, built once and shared as long as somebody holds it.

    Args:
        geometry: of the scan.
        plane: the pixels of one slice.
        dtype: of the values, float32 or float64.
    """
    geometry.check(plane)
    key = (geometry, plane, dtype)
    matrix = _shared.get(key)
    if matrix is None:
        matrix = _shared[key] = _build(geometry, plane, dtype)
    return matrix


def matrix_entries(geometry: Geometry, plane: ImagePlane) -> int:
    """Predicted number of entries of ``A``, without building it; within a few per cent where the detector sees all.

    On its row a pixel meets ``1 + pixel / bin`` bins on average, both projected to that row.
    """
    theta = torch.tensor(geometry.angles, dtype=torch.float64)
    cos, sin = theta.cos().abs(), theta.sin().abs()
    width = torch.where(cos >= sin, cos * plane.spacing[1], sin * plane.spacing[0])
    magnification = 1.0
    if isinstance(geometry, FanBeam):
        # Mean of R / depth over a disc of the image's area and all views.
        disc = math.sqrt(plane.size * math.prod(plane.spacing) / math.pi) / geometry.source_to_centre
        mean = 2 / (1 + math.sqrt(max(0.0, 1 - min(disc, 1.0) ** 2)))
        magnification = geometry.source_to_detector / geometry.source_to_centre * mean
    bins_per_pixel = float((1 + width * magnification / geometry.pitch).sum())
    seen = min(1.0, geometry.bins * geometry.pitch / (2 * plane.radius * magnification) * math.sqrt(2))
    return int(plane.size * bins_per_pixel * seen)


def matrix_bytes(geometry: Geometry, plane: ImagePlane, dtype: torch.dtype = torch.float32) -> int:
    """Predicted memory of ``A`` and ``A^T`` together in bytes, for the memory plan."""
    entry = 4 + torch.empty((), dtype=dtype).element_size()
    return 2 * entry * matrix_entries(geometry, plane) + 4 * (geometry.rays + plane.size + 2)


def _check_size(geometry: Geometry, plane: ImagePlane) -> None:
    entries = matrix_entries(geometry, plane)
    if entries >= 2**31:
        raise UsageError(
            "E-CT-05",
            f"The system matrix of {plane.shape[0]} x {plane.shape[1]} pixels and {geometry.views} views would have "
            f"{entries:.2g} entries.",
            why="More than 2^31 entries cannot be indexed.",
            fix="Reconstruct on a coarser grid or from fewer views.",
        )


def reweighted(matrix: SparseRows, weight: Tensor) -> SparseRows:
    """The same pattern with other values."""
    return replace(matrix, value=weight)
