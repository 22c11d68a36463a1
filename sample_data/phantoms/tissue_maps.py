"""The fractions of each tissue in each voxel, and how they are built up by painting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phantoms.fields import Field, occupancy


@dataclass(frozen=True)
class TissueMaps:
    """What a subject consists of, on the voxels of a scan.

    Attributes:
        names: of the tissues.
        fractions: (tissue, z, y, x) float32, summing to one in each voxel.
        affine: (4, 4) voxel index (x, y, z) to mm, right, anterior, superior.
        grain: (z, y, x) texture of zero mean and unit variance.
        bias: (z, y, x) smooth sensitivity of the receiver, about one.
    """

    names: tuple[str, ...]
    fractions: Field
    affine: NDArray[np.float64]
    grain: Field
    bias: Field

    def __getitem__(self, name: str) -> Field:
        return np.asarray(self.fractions[self.names.index(name)])


class Canvas:
    """Fractions under construction: each layer covers what lies below it in proportion to its occupancy."""

    def __init__(self, names: tuple[str, ...], ground: str, shape: tuple[int, ...], width: float) -> None:
        """Start with the whole grid filled by one tissue.

        Args:
            names: of the tissues.
            ground: the tissue that fills the grid at first.
            shape: of the grid, (z, y, x).
            width: of a voxel, mm: the ramp of partial volume across a boundary.
        """
        self.names = names
        self.width = width
        self.fractions = np.zeros((len(names), *shape), np.float32)
        self.fractions[names.index(ground)] = 1

    def paint(self, distance: Field, mixture: str | Mapping[str, float], opacity: Field | float = 1.0) -> None:
        """Cover the inside of a shape (signed distance in mm) with a tissue or a mixture of tissues."""
        if float(distance.min()) > self.width / 2:
            return
        cover = occupancy(distance, self.width) * opacity
        # Only the slab that the shape reaches is touched: most structures are small.
        slices = np.flatnonzero(cover.any(axis=(1, 2)))
        if slices.size == 0:
            return
        slab = slice(int(slices[0]), int(slices[-1]) + 1)
        cover = np.asarray(cover[slab], np.float32)
        self.fractions[:, slab] *= 1 - cover
        for name, share in ({mixture: 1.0} if isinstance(mixture, str) else mixture).items():
            self.fractions[self.names.index(name), slab] += np.float32(share) * cover

    def averaged(self, slices_per_voxel: int) -> Field:
        """The fractions with groups of thin slices averaged: the box profile of a thick slice."""
        n_tissues, depth, *plane = self.fractions.shape
        return np.asarray(
            self.fractions.reshape(n_tissues, depth // slices_per_voxel, slices_per_voxel, *plane).mean(axis=2)
        )
