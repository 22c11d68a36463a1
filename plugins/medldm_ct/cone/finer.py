"""Cone-beam projections of a volume from a finer grid than it is reconstructed on, some slices at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm_ct.cone.geometry import ConeBeam, VoxelBox
from medldm_ct.cone.projector import ConeTransform

# Voxels of the finer grid that exist at a time (128 MiB), and slices that an interpolated slice depends on.
_VOXELS = 1 << 25
_REACH = 2


def finer_projections(attenuation: Tensor, beam: ConeBeam, box: VoxelBox, factor: int) -> Tensor:
    """Line integrals ``(view, row, column)`` of a volume ``(z, y, x)`` in 1/mm, interpolated to a finer grid.

    A measurement computed with the very coefficients that are inverted later hides their errors. The volume is
    interpolated by cubic splines along all three axes, never below zero. Line integrals add up over its parts, so that
    only some slices of the finer grid exist at a time.

    Args:
        attenuation: float32, on the CPU.
        beam: of the scan.
        box: voxels of ``attenuation``.
        factor: 1 projects the volume as it is.
    """
    beam.check(box)
    fine = box.finer(factor)
    total = torch.zeros(beam.shape, dtype=attenuation.dtype)
    step = slices_at_once(box, factor)
    for start in range(0, box.shape[0], step):
        stop = min(start + step, box.shape[0])
        part = _interpolated(attenuation, start, stop, factor)
        total += ConeTransform(beam, fine.slices(start * factor, stop * factor)).forward(part)
    return total


def slices_at_once(box: VoxelBox, factor: int) -> int:
    """Slices of the coarse volume that are projected together."""
    return max(1, _VOXELS // (box.shape[1] * box.shape[2] * factor**3))


def projection_bytes(beam_rays: int, box: VoxelBox, factor: int) -> int:
    """Peak working memory of :func:`finer_projections` in bytes, besides volume and result."""
    voxels = box.shape[1] * box.shape[2] * factor**3 * min(box.shape[0], slices_at_once(box, factor))
    # The part and its running sums, once more while it is interpolated; a part's projections.
    return 4 * (3 * voxels + 2 * beam_rays)


def _interpolated(volume: Tensor, start: int, stop: int, factor: int) -> Tensor:
    if factor == 1:
        return volume[start:stop]
    low, high = max(0, start - _REACH), min(len(volume), stop + _REACH)
    some = torch.nn.functional.interpolate(
        volume[low:high, None], scale_factor=factor, mode="bicubic", align_corners=False
    )[:, 0]
    # Along z alone: slices are the rows of an image whose columns are all other voxels.
    slices = some.flatten(1)[None, None]
    size = [(high - low) * factor, slices.shape[-1]]
    fine = torch.nn.functional.interpolate(slices, size=size, mode="bicubic", align_corners=False)[0, 0]
    first = (start - low) * factor
    kept = fine[first : first + (stop - start) * factor].clamp_(min=0)
    return kept.view(-1, *some.shape[1:])
