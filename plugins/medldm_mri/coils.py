"""Coil sensitivities of a simulated receive array, by the law of Biot and Savart.

Elliptic loops stand around the volume on an elliptic cylinder along the main field (the patient's superior axis), by
turns shifted up and down along it. By reciprocity (Hoult 2000) a loop receives in proportion to the circular component
``B_x - i B_y`` of the field that a unit current in it would make. Maps are normalised to a sum of squares of 1.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medldm.data import Grid
from medldm_mri.interpolation import cubic_matrix, upsample
from medldm_mri.root_sum_of_squares import root_sum_of_squares

# The field is computed at so many points of each axis (z, y, x) and interpolated: it has no finer structure.
_POINTS = (17, 49, 49)
_SEGMENTS = 48
# Loops stand this far out, relative to the half size of the volume; their wires are this thick, to stay finite.
_DISTANCE, _THICKNESS = 1.25, 0.06


class CoilArray:
    """Sensitivities of ``coils`` loops around a volume, one slice at a time.

    Args:
        grid: of the volume; the array follows its place in the patient, not its voxels.
        coils: number of loops; a single one is uniform (1 everywhere).
    """

    def __init__(self, grid: Grid, coils: int) -> None:
        self.grid = grid
        self.coils = coils
        positions = [np.linspace(0, n - 1, min(n, p)) for n, p in zip(grid.shape, _POINTS, strict=True)]
        index = np.stack(np.meshgrid(*positions, indexing="ij"), axis=-1)
        if coils == 1:
            field = np.ones((1, *index.shape[:3]), dtype=np.complex128)
        else:
            points = grid.world(index.reshape(-1, 3))
            field = np.stack([_received(points, *loop) for loop in _loops(grid, coils)]).reshape(-1, *index.shape[:3])
        # Absolute units are lost in the normalisation; a common scale keeps float32 away from its limits.
        self._coarse = torch.from_numpy(field / np.abs(field).max()).to(torch.complex64).transpose(0, 1)
        self._matrices = [cubic_matrix(m, n) for m, n in zip(index.shape[1:3], grid.shape[1:], strict=True)]

    def at(self, z: int) -> Tensor:
        """Maps (coil, y, x) complex64 of slice ``z``, sum of squares 1."""
        slices = self._coarse.shape[0]
        place = z / max(1, self.grid.shape[0] - 1) * (slices - 1)
        below = min(int(place), max(0, slices - 2))
        above = min(below + 1, slices - 1)
        maps = torch.lerp(self._coarse[below], self._coarse[above], place - below)
        maps = upsample(maps, *self._matrices)
        return maps / root_sum_of_squares(maps)

    def all(self) -> Tensor:
        """Maps (z, coil, y, x) complex64 of the whole volume."""
        return torch.stack([self.at(z) for z in range(self.grid.shape[0])])


def _loops(grid: Grid, coils: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Middle points and steps (segment, 3) in mm of each loop's wire."""
    centre = grid.world((np.asarray(grid.shape) - 1) / 2)
    half = np.abs(grid.affine[:3, :3]) @ np.asarray(grid.shape) / 2
    ring = _DISTANCE * half[:2]
    # Neighbours overlap a little, as real loops do to decouple; they are as high as the volume asks for.
    width = 1.2 * math.sin(math.pi / max(coils, 3)) * float(ring.mean())
    height = max(width, 1.4 * half[2])
    turn = np.linspace(0, 2 * np.pi, _SEGMENTS, endpoint=False) + np.pi / _SEGMENTS
    loops = []
    for coil in range(coils):
        angle = 2 * np.pi * (coil + 0.5) / coils
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        along = np.array([-np.sin(angle), np.cos(angle), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        middle = centre + np.array([*(ring * outward[:2]), (-1) ** coil * 0.3 * half[2]])
        wire = middle + width * np.cos(turn)[:, None] * along + height * np.sin(turn)[:, None] * up
        step = -width * np.sin(turn)[:, None] * along + height * np.cos(turn)[:, None] * up
        loops.append((wire, step * (2 * np.pi / _SEGMENTS)))
    return loops


def _received(
    points: NDArray[np.float64], wire: NDArray[np.float64], step: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """``B_x - i B_y`` (point,) of a unit current, up to a constant: the sum of ``dl x r / |r|^3`` over the wire."""
    thickness = _THICKNESS * float(np.linalg.norm(wire - wire.mean(axis=0), axis=1).max())
    received = np.zeros(len(points), dtype=np.complex128)
    for at, dl in zip(wire, step, strict=True):
        r = points - at
        weight = (np.einsum("pi,pi->p", r, r) + thickness**2) ** -1.5
        x = dl[1] * r[:, 2] - dl[2] * r[:, 1]
        y = dl[2] * r[:, 0] - dl[0] * r[:, 2]
        received += weight * (x - 1j * y)
    return received
