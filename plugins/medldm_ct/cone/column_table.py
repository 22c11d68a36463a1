"""How the rays of each detector column cross a volume, where columns run along ``z``.

All rays of such a column lie in one plane parallel to the axis. They are followed along the image axis that they are
closer to, one slab of voxels (a row or a column of the image) at a time. The two edges of the column cross the middle
of slab ``s`` at lateral positions that are linear in ``s``; the edges of its bins cross it at ``A + B i``, with ``A``
and ``B`` linear in ``s`` too. So a column needs eleven numbers, however many rows it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medldm_ct.cone.geometry import ConeBeam, VoxelBox

# At 45 degrees mirrored columns must choose alike, whatever the rounding.
_TIE = 1e-9


@dataclass(frozen=True, eq=False)
class ColumnTable:
    """Eleven float64 numbers for each column of each view, in the order (view, column).

    Lengths along ``z`` and across are in voxels, voxel ``k`` covering ``[k, k + 1]``.

    Attributes:
        numbers: (view x column, 11): offset and slope of the crossing of the first edge, the same of the second;
            offset and slope of ``A``; of ``B``; ``p``, ``q`` and ``h`` of the ray's length within a slab in mm,
            ``q sqrt(p + (h + i pitch)^2)`` for row ``i``.
        along_y: (view x column,) whether its slabs are rows of the image, and not columns.
    """

    numbers: NDArray[np.float64]
    along_y: NDArray[np.bool_]

    @classmethod
    def of(cls, beam: ConeBeam, box: VoxelBox) -> ColumnTable:
        """The columns of an upright scan, rows counted upwards along ``z``."""
        d = beam.detector
        middles = d.column_positions()
        edges = torch.cat([middles - d.column_pitch / 2, middles[-1:] + d.column_pitch / 2])
        direction = _in_plane(beam, middles)
        edge = _in_plane(beam, edges)
        along_y = direction[..., 1].abs() >= direction[..., 0].abs() - _TIE
        numbers = torch.where(
            along_y[..., None],
            _numbers(beam, box, direction, edge, lateral=0),
            _numbers(beam, box, direction, edge, lateral=1),
        )
        return cls(np.ascontiguousarray(numbers.flatten(0, 1).numpy()), np.ascontiguousarray(along_y.flatten().numpy()))


def _in_plane(beam: ConeBeam, positions: Tensor) -> Tensor:
    """``(view, position, 2)`` from the source to the detector, without its part along ``z``."""
    return (beam.points(torch.zeros_like(positions), positions) - beam.source[:, None])[..., :2]


def _numbers(beam: ConeBeam, box: VoxelBox, direction: Tensor, edge: Tensor, lateral: int) -> Tensor:
    """The numbers of all columns as if each were followed along the axis that is not ``lateral``; x is 0, y is 1."""
    main, d = 1 - lateral, beam.detector
    step, width, height = box.spacing[2 - main], box.spacing[2 - lateral], box.spacing[0]
    source = beam.source[:, None]
    # At slab s the main coordinate is first + s step; a ray has come the share (first + s step - source) / direction.
    begin = box.first(main) - source[..., main]
    slope = edge[..., lateral] / edge[..., main]
    crossing = (source[..., lateral] + begin * slope - box.first(lateral)) / width + 0.5
    slope = slope * step / width
    share, share_slope = begin / direction[..., main], step / direction[..., main]
    pitch = d.row_pitch / height
    # The lowest bin edge seen from the source, and the source seen from the lowest voxel.
    lowest = ((beam.centre - beam.source)[:, 2] - d.rows * d.row_pitch / 2)[:, None]
    base = (source[..., 2] - box.first(2)) / height + 0.5
    return torch.stack(
        torch.broadcast_tensors(
            crossing[:, :-1], slope[:, :-1], crossing[:, 1:], slope[:, 1:],
            base + share * lowest / height, share_slope * lowest / height,
            share * pitch, share_slope * pitch,
            direction.square().sum(-1), step / direction[..., main].abs(), lowest + d.row_pitch / 2,
        ),
        -1,
    )  # fmt: skip
