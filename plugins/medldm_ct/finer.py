"""Projections of a volume from a finer grid than it is reconstructed on, in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.operators import SparseProduct
from medldm_ct.geometry import Geometry, ImagePlane
from medldm_ct.matrix import build_forward, matrix_entries
from medldm_ct.symmetry import find_symmetry

# Entries of the part of a matrix that exists at a time (8 bytes each, half as much again while it is built), and
# numbers in the slices that it is applied to.
_ENTRIES = 1 << 25
_NUMBERS = 1 << 26
_COLUMNS = 64
# Measured over counted: memory that the allocator holds for each thread.
_ALLOCATOR = 1.3


def finer_projections(attenuation: Tensor, geometry: Geometry, plane: ImagePlane, factor: int) -> Tensor:
    """Line integrals ``(z, view, bin)`` of a volume ``(z, y, x)`` in 1/mm, interpolated to a grid ``factor`` finer.

    A measurement computed with the very matrix that is inverted later hides that matrix's errors. In plane the image
    is interpolated by cubic splines, never below zero, and projected by the matrix of the finer grid, which is built
    for some views at a time and dropped: see :func:`projection_bytes`.

    Args:
        attenuation: float32, on the CPU.
        geometry: of the scan.
        plane: pixels of ``attenuation``.
        factor: 1 projects the image as it is.
    """
    fine = plane.finer(factor)
    fine_geometry = find_symmetry(geometry, fine)
    kept = fine_geometry.geometry if fine_geometry else geometry
    images = fine_geometry.images if fine_geometry else 1
    slices, width = len(attenuation), _slices_at_once(fine, images)
    measured = attenuation.new_empty(slices, kept.views, kept.bins * images)
    for views in _parts(kept, fine):
        product = SparseProduct(build_forward(kept.with_views(views), fine, torch.float32))
        for start in range(0, slices, width):
            x = _interpolated(attenuation[start : start + width], factor).t().contiguous()
            if fine_geometry:
                x = x.index_select(0, fine_geometry.turn).view(fine.size, -1)
            y = product(x).view(len(views), kept.bins * images, -1)
            measured[start : start + width, views.start : views.stop] = y.permute(2, 0, 1)
            del x, y
        del product
    measured = measured.flatten(1)
    if fine_geometry:
        measured = measured.index_select(1, fine_geometry.view)
    return measured.view(slices, geometry.views, geometry.bins)


def projection_bytes(geometry: Geometry, plane: ImagePlane, factor: int) -> int:
    """Peak working memory of :func:`finer_projections` in bytes, besides volume and result; nothing is built."""
    fine = plane.finer(factor)
    entries = matrix_entries(geometry, fine)
    matrix = min(_ENTRIES + entries // geometry.views, entries)
    # The slices three times: interpolated, as columns, and turned. Up to eight turned images are made at least.
    columns = max(min(_COLUMNS * fine.size, _NUMBERS), 8 * fine.size)
    return int(_ALLOCATOR * max(12 * matrix, 8 * matrix + 3 * 4 * columns))


def _slices_at_once(fine: ImagePlane, images: int) -> int:
    return max(1, min(_COLUMNS, _NUMBERS // fine.size) // images)


def _parts(geometry: Geometry, fine: ImagePlane) -> list[range]:
    size = max(1, _ENTRIES * geometry.views // max(1, matrix_entries(geometry, fine)))
    return [range(i, min(i + size, geometry.views)) for i in range(0, geometry.views, size)]


def _interpolated(slices: Tensor, factor: int) -> Tensor:
    if factor > 1:
        slices = torch.nn.functional.interpolate(
            slices[:, None], scale_factor=factor, mode="bicubic", align_corners=False
        )[:, 0].clamp_(min=0)
    return slices.reshape(len(slices), -1)
