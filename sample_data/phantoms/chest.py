"""A chest for CT: HU of one person on the voxels of one scan, with known nodules."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phantoms import thorax
from phantoms.airways import Segment, grow
from phantoms.fields import Field, Points, Triple, Waves, ellipsoid, occupancy, smooth_max, smooth_min, stream, texture
from phantoms.subject import scan_affine, voxel_centres
from phantoms.tissue_maps import Canvas

# HU of each tissue in the venous phase of a contrast-enhanced scan, and its grain (standard deviation, HU).
TISSUES: dict[str, tuple[float, float]] = {
    "air": (-1000, 0),
    "foam": (-910, 3),
    "lung": (-868, 20),
    "ground glass": (-560, 25),
    "fat": (-102, 8),
    "skin": (30, 5),
    "muscle": (58, 9),
    "fluid": (15, 4),
    "disc": (88, 8),
    "cartilage": (115, 12),
    "nodule": (38, 6),
    "myocardium": (102, 6),
    "liver": (108, 7),
    "spleen": (122, 6),
    "venous blood": (158, 5),
    "arterial blood": (215, 5),
    "marrow": (195, 45),
    "cortical bone": (930, 40),
    "table": (-250, 0),
}


@dataclass(frozen=True)
class Nodule:
    """A ball in the lung: centre in mm (left, posterior, superior), radius in mm, and its tissue."""

    centre: Triple
    radius: float
    tissue: str


@dataclass(frozen=True)
class Chest:
    """One scan of one person.

    Attributes:
        hu: (z, y, x) float32 HU, noise-free.
        affine: (4, 4) voxel index (x, y, z) to mm, left, posterior, superior.
        nodules: what was put into the lungs.
        volumes_ml: volume of each tissue inside the field of view.
    """

    hu: Field
    affine: NDArray[np.float64]
    nodules: tuple[Nodule, ...]
    volumes_ml: dict[str, float]


@dataclass(frozen=True)
class _Person:
    seed: int
    scale: Triple
    build: float
    waves: tuple[Waves, Waves, Waves]

    @classmethod
    def draw(cls, seed: int) -> _Person:
        g = stream(seed, "chest")
        width, depth, height = g.normal(1, (0.03, 0.03, 0.03))
        waves = (Waves.draw(g, 190, count=10), Waves.draw(g, 190, count=10), Waves.draw(g, 190, count=10))
        return cls(seed, (float(width), float(depth), float(height)), float(g.uniform(9, 20)), waves)

    def anatomical(self, scanner: Points) -> Points:
        """Positions in the average chest of positions in the scanner."""
        p = Points(*(c / np.float32(s) for c, s in zip((scanner.x, scanner.y, scanner.z), self.scale, strict=True)))
        return p.moved(*(w(p) * np.float32(2.0) for w in self.waves))

    def lungs(self, at: Points) -> Field:
        """Signed distance to both lungs."""
        free = smooth_max(thorax.cage(at) + 2, -thorax.mediastinum(at), 8)
        return smooth_max(free, -thorax.diaphragm(at), 5)


def chest(
    seed: int,
    shape: tuple[int, int, int] = (36, 192, 240),
    spacing: tuple[float, float, float] = (4.0, 1.6, 1.6),
    *,
    centre: Triple = (0.0, 24.0, 0.0),
    nodules: int = 5,
) -> Chest:
    """The chest of the person of a seed.

    Args:
        seed: another seed is another person.
        shape: voxels (z, y, x).
        spacing: mm (z, y, x).
        centre: of the field of view, mm left, posterior and superior of a point behind the sternum.
        nodules: number of nodules in the lungs; the last of three or more is of ground glass.
    """
    person = _Person.draw(seed)
    slices = max(1, math.ceil(spacing[0] / 2.2))
    affine = scan_affine(shape, spacing, np.eye(3), centre)
    scanner = voxel_centres(shape, affine, slices)
    scanner = Points(
        *(
            np.ascontiguousarray(np.broadcast_to(c, (shape[0] * slices, *shape[1:])))
            for c in (scanner.x, scanner.y, scanner.z)
        )
    )
    at = person.anatomical(scanner)
    fine = (spacing[0] / slices, spacing[1], spacing[2])
    canvas = Canvas(tuple(TISSUES), "air", at.x.shape, float(np.cbrt(np.prod(fine))))
    inner = thorax.cage(at)
    shell, core = thorax.table(scanner)
    canvas.paint(core, "foam")
    canvas.paint(shell, "table")
    _wall(canvas, at, inner, person)
    _abdomen(canvas, at, inner, person)
    _mediastinum(canvas, at, inner)
    _lungs(canvas, at, person)
    _trees(canvas, at, person)
    _skeleton(canvas, at, inner, person)
    found = _place_nodules(person, scanner, nodules)
    for nodule in found:
        canvas.paint(ellipsoid(scanner, nodule.centre, (nodule.radius,) * 3), nodule.tissue)
    fractions = canvas.averaged(slices)
    voxel_ml = float(np.prod(spacing)) / 1000
    volumes = {
        n: round(float(f.sum(dtype=np.float64)) * voxel_ml, 1) for n, f in zip(canvas.names, fractions, strict=True)
    }
    return Chest(_hounsfield(fractions, person, shape, spacing, affine), affine, found, volumes)


def _hounsfield(
    fractions: Field, person: _Person, shape: tuple[int, int, int], spacing: Triple, affine: NDArray[np.float64]
) -> Field:
    """Mix the tissues' HU, each with its grain; the lung is denser towards the back, where it hangs."""
    g = stream(person.seed, "grain")
    grain = np.float32(0.8) * texture(g, shape, spacing, 2.2) + np.float32(0.6) * texture(g, shape, spacing, 6.0)
    at = voxel_centres(shape, affine)
    hu = np.zeros(shape, np.float32)
    for (name, (mean, spread)), fraction in zip(TISSUES.items(), fractions, strict=True):
        level = np.float32(mean) + np.float32(spread) * grain
        if name == "lung":
            level = level + np.float32(0.28) * (at.y - 10)
        hu += fraction * level
    return np.asarray(hu, np.float32)


def _wall(canvas: Canvas, at: Points, inner: Field, person: _Person) -> None:
    """Skin, subcutaneous fat and the muscles outside and between the ribs."""
    skin = thorax.body(at, person.build)
    half = at.mirrored()
    canvas.paint(skin, "skin")
    canvas.paint(skin + 2, "fat")
    strands = Waves.draw(stream(person.seed, "muscle"), 17, spread=0.5, count=24)(at)
    upper = np.clip((at.z + 30) / np.float32(40), 0, 1)
    pectoral = 15 * upper * np.exp(-(((half.x - 72) / 42) ** 4)) * np.clip((-15 - at.y) / np.float32(20), 0, 1)
    broad = 15 * np.clip((at.z + 75) / np.float32(40), 0, 1) * np.exp(-(((at.y - 42) / 46) ** 4)) * (half.x > 40)
    thickness = np.asarray(8 + pectoral + broad, np.float32)
    erector = ellipsoid(half, (30.0, 102.0, 0.0), (27.0, 15.0, 900.0))
    shoulder = thorax.scapulae(at) - 11
    bulk = smooth_min(smooth_min(inner - thickness, erector, 6), shoulder, 6)
    bulk = smooth_max(bulk, skin + np.float32(0.45 * person.build + 3), 4)
    canvas.paint(bulk, "muscle", np.clip(1.05 - 0.28 * np.maximum(strands - 1.0, 0), 0, 1))
    # Fat planes between the muscles of the wall and of the back.
    plane = np.abs(inner - 9 - pectoral.astype(np.float32) * np.float32(0.45)) - np.float32(0.5)
    canvas.paint(np.maximum(plane, bulk), "fat", 0.6)
    canvas.paint(inner - 1, "fat")


def _abdomen(canvas: Canvas, at: Points, inner: Field, person: _Person) -> None:
    """Diaphragm, liver with its veins, spleen, stomach and the fat between them."""
    height = thorax.diaphragm(at)
    below = smooth_max(height + 3, inner + 4, 4)
    canvas.paint(smooth_max(height, inner, 4), "muscle")
    canvas.paint(below, "fat")
    liver = smooth_max(below + 1, ellipsoid(at, (-50.0, -6.0, -118.0), (98.0, 92.0, 90.0)), 6)
    canvas.paint(liver, "liver")
    g = stream(person.seed, "liver")
    roots = g.uniform((-115, -60, -110), (10, 60, -60), (60, 3))
    for piece in grow(roots, (-24.0, 16.0, -62.0), 5.5, smallest=1.0, inside=lambda p: np.ones(len(p), bool)):
        _paint_segment(canvas, at, piece, "venous blood", np.clip(-liver - 1, 0, 1))
    canvas.paint(smooth_max(below + 2, ellipsoid(at, (92.0, 44.0, -95.0), (32.0, 40.0, 46.0)), 4), "spleen")
    stomach = smooth_max(below + 2, ellipsoid(at, (56.0, -18.0, -98.0), (44.0, 42.0, 44.0)), 4)
    canvas.paint(stomach, "muscle")
    canvas.paint(stomach + 4, "fluid")
    canvas.paint(np.maximum(stomach + 4, at.y + 22), "air")


def _mediastinum(canvas: Canvas, at: Points, inner: Field) -> None:
    """Heart, great vessels, airways and oesophagus."""
    heart, vessels = thorax.heart(at), thorax.vessels(at)
    above = np.maximum(-thorax.diaphragm(at), inner)
    canvas.paint(np.maximum(np.abs(heart["sac"]) - np.float32(0.6), above), "muscle", 0.7)
    canvas.paint(np.maximum(heart["muscle"], above), "myocardium")
    for name, blood in (("left", "arterial blood"), ("right", "venous blood")):
        canvas.paint(np.maximum(heart[name], above), blood)
    canvas.paint(thorax.oesophagus(at), "muscle")
    canvas.paint(thorax.oesophagus(at) + np.float32(5.4), "air", 0.7)
    for name, blood in (("venous", "venous blood"), ("pulmonary", "arterial blood"), ("arterial", "arterial blood")):
        canvas.paint(vessels[name] - np.float32(1.3), "muscle")
        canvas.paint(vessels[name], blood)
    canvas.paint(thorax.windpipe(at) - np.float32(1.6), "muscle")
    canvas.paint(thorax.windpipe(at), "air")


def _lungs(canvas: Canvas, at: Points, person: _Person) -> None:
    """Aerated lung and the fissures between the lobes."""
    lungs = person.lungs(at)
    canvas.paint(lungs, "lung")
    oblique = (at.z - np.float32(0.95) * (at.y - 4) - 0.002 * (at.x.astype(np.float32)) ** 2 + 12) * np.float32(0.72)
    canvas.paint(np.maximum(np.abs(oblique) - np.float32(0.5), lungs), "muscle", 0.3)
    horizontal = np.maximum(np.abs(at.z - 6 - 0.08 * at.x) - np.float32(0.5), np.maximum(-oblique, at.x))
    canvas.paint(np.maximum(horizontal, lungs), "muscle", 0.3)


def _trees(canvas: Canvas, at: Points, person: _Person) -> None:
    """Arteries, veins and bronchi of both lungs."""

    def lungs_at(points: NDArray[np.float64]) -> Field:
        x, y, z = np.ascontiguousarray(points.T, np.float32)
        return person.lungs(Points(x, y, z))

    lungs = person.lungs(at)
    within = np.clip(0.5 - lungs, 0, 1)
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
                    _paint_segment(canvas, at, wall, "muscle", within)
            for piece in tree:
                _paint_segment(canvas, at, piece, tissue, within)


def _paint_segment(canvas: Canvas, at: Points, piece: Segment, tissue: str, within: Field) -> None:
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
        hits = np.flatnonzero((line > a - 6) & (line < b + 6))
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


def _skeleton(canvas: Canvas, at: Points, inner: Field, person: _Person) -> None:
    """Ribs, sternum, spine and scapulae: cortical shells around marrow."""
    spine = thorax.spine(at)
    canvas.paint(thorax.costal_cartilage(at, inner), "cartilage")
    canvas.paint(spine["disc"], "disc")
    rough = Waves.draw(stream(person.seed, "bone"), 6, spread=0.5, count=20)(at) * np.float32(0.25)
    # (bone, thickness of its cortex in mm)
    for bone, cortex in (
        (thorax.ribs(at, inner), 1.3),
        (thorax.sternum(at), 1.2),
        (spine["body"], 1.1),
        (spine["arch"], 1.5),
        (thorax.scapulae(at), 1.2),
    ):
        canvas.paint(bone, "cortical bone")
        canvas.paint(bone + np.float32(cortex) + rough, "marrow")
    canvas.paint(spine["canal"], "fat")
    canvas.paint(spine["canal"] + 1, "fluid")
    canvas.paint(spine["cord"], "muscle")


def _place_nodules(person: _Person, scanner: Points, count: int) -> tuple[Nodule, ...]:
    """Draw nodules that lie wholly inside the lungs and the field of view, apart from one another."""
    g = stream(person.seed, "nodules")
    low = np.array([float(c.min()) for c in (scanner.x, scanner.y, scanner.z)]) + 12
    high = np.array([float(c.max()) for c in (scanner.x, scanner.y, scanner.z)]) - 12
    found: list[Nodule] = []
    for _ in range(20000):
        if len(found) == count:
            break
        ground_glass = count >= 3 and len(found) == count - 1
        radius = round(float(g.uniform(8, 11) if ground_glass else g.uniform(3.0, 7.5)), 1)
        centre = np.round(g.uniform(low, high), 1)
        spot = Points(*(np.full((1, 1, 1), c, np.float32) for c in centre))
        apart = all(np.linalg.norm(centre - n.centre) > 35 for n in found)
        if apart and float(person.lungs(person.anatomical(spot))[0, 0, 0]) < -1.2 * radius - 3:
            tissue = "ground glass" if ground_glass else "nodule"
            found.append(Nodule((float(centre[0]), float(centre[1]), float(centre[2])), radius, tissue))
    return tuple(found)
