"""The lungs: their outline, the fissures, and the trees of arteries, veins and bronchi."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from phantoms import thorax
from phantoms.airways import Segment, grow
from phantoms.fields import Field, Points, occupancy, smooth_max, stream
from phantoms.subject import Torso
from phantoms.tissue_maps import Canvas


def lungs(at: Points) -> Field:
    """Signed distance to both lungs."""
    free = smooth_max(thorax.cage(at) + 2, -thorax.mediastinum(at), 8)
    return smooth_max(free, -thorax.diaphragm(at), 5)


def paint_lungs(canvas: Canvas, at: Points) -> None:
    """Aerated lung and the fissures between the lobes."""
    inside = lungs(at)
    canvas.paint(inside, "lung")
    oblique = (at.z - np.float32(0.95) * (at.y - 4) - 0.002 * (at.x.astype(np.float32)) ** 2 + 12) * np.float32(0.72)
    canvas.paint(np.maximum(np.abs(oblique) - np.float32(0.5), inside), "muscle", 0.3)
    horizontal = np.maximum(np.abs(at.z - 6 - 0.08 * at.x) - np.float32(0.5), np.maximum(-oblique, at.x))
    canvas.paint(np.maximum(horizontal, inside), "muscle", 0.3)


def paint_trees(canvas: Canvas, at: Points, person: Torso) -> None:
    """Arteries, veins and bronchi of both lungs."""

    def lungs_at(points: NDArray[np.float64]) -> Field:
        x, y, z = np.ascontiguousarray(points.T, np.float32)
        return lungs(Points(x, y, z))

    inside = lungs(at)
    within = np.clip(0.5 - inside, 0, 1)
    for side in (-1, 1):
        g = stream(person.seed, f"trees {side}")
        candidates = g.uniform((20, -95, -75), (135, 95, 120), (9000, 3)) * (side, 1, 1)
        candidates = candidates[lungs_at(candidates) < -2]
        # (tissue, end points, hilum, radius of the stem, smallest branch) of each tree, mm.
        for tissue, count, root, radius, smallest in (
            ("arterial blood", 900, (side * 46.0, 12.0, 18.0), 6.6, 0.5),
            ("venous blood", 650, (side * 47.0, 12.0, 2.0), 5.6, 0.5),
            ("air", 130, (side * 44.0, 23.0, 13.0), 4.4, 0.9),
        ):
            ends = candidates[g.permutation(len(candidates))[:count]]
            tree = grow(ends, root, radius, smallest=smallest, inside=lambda p: lungs_at(p) < 0)
            for piece in tree:
                if tissue == "air":
                    wall = Segment(piece.start, piece.end, piece.radius * 1.25 + 0.5, piece.feeds)
                    paint_branch(canvas, at, wall, "muscle", within)
            for piece in tree:
                paint_branch(canvas, at, piece, tissue, within)


def paint_branch(canvas: Canvas, at: Points, piece: Segment, tissue: str, within: Field) -> None:
    """Paint one branch, looking only at the voxels near it."""
    margin = piece.radius + canvas.width
    low, high = np.minimum(piece.start, piece.end) - margin, np.maximum(piece.start, piece.end) + margin
    # The displacement of the anatomy is small and smooth: lines through the middle of the grid bound the box.
    box = []
    k, j, i = (n // 2 for n in at.x.shape)
    for line, a, b in (
        (at.z[:, j, i], low[2], high[2]),
        (at.y[k, :, i], low[1], high[1]),
        (at.x[k, j], low[0], high[0]),
    ):
        hits = np.flatnonzero((line > a - 8) & (line < b + 8))
        if hits.size == 0:
            return
        box.append(slice(int(hits[0]), int(hits[-1]) + 1))
    part = tuple(box)
    start = np.asarray(piece.start, np.float32)
    axis = np.asarray(piece.end, np.float32) - start
    px, py, pz = at.x[part] - start[0], at.y[part] - start[1], at.z[part] - start[2]
    along = np.clip((px * axis[0] + py * axis[1] + pz * axis[2]) / max(float(axis @ axis), 1e-6), 0, 1)
    gap = np.sqrt((px - along * axis[0]) ** 2 + (py - along * axis[1]) ** 2 + (pz - along * axis[2]) ** 2)
    # A branch thinner than a voxel fills the part that its cross-section takes, not that of a plane boundary.
    width = canvas.width
    thin = min(1.0, math.pi * piece.radius**2 / width**2) / min(1.0, 0.5 + piece.radius / width)
    cover = occupancy(gap - np.float32(piece.radius), width) * np.float32(thin) * within[part]
    target = canvas.fractions[(slice(None), *part)]
    target *= 1 - cover
    target[canvas.names.index(tissue)] += cover
