"""A chest for CT: HU of one person on the voxels of one scan, with known nodules."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phantoms import thorax
from phantoms.airways import grow
from phantoms.fields import Field, Points, Triple, Waves, ellipsoid, smooth_max, smooth_min, stream, texture
from phantoms.lungs import lungs, paint_branch, paint_lungs, paint_trees
from phantoms.subject import Torso, scan_affine, voxel_centres
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
    person = Torso.draw(seed)
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
    paint_lungs(canvas, at)
    paint_trees(canvas, at, person)
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
    fractions: Field, person: Torso, shape: tuple[int, int, int], spacing: Triple, affine: NDArray[np.float64]
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


def _wall(canvas: Canvas, at: Points, inner: Field, person: Torso) -> None:
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


def _abdomen(canvas: Canvas, at: Points, inner: Field, person: Torso) -> None:
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
        paint_branch(canvas, at, piece, "venous blood", np.clip(-liver - 1, 0, 1))
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


def _skeleton(canvas: Canvas, at: Points, inner: Field, person: Torso) -> None:
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


def _place_nodules(person: Torso, scanner: Points, count: int) -> tuple[Nodule, ...]:
    """Draw nodules that lie wholly inside the lungs and the field of view, apart from one another."""
    g = stream(person.seed, "nodules")
    low = np.array([float(c.min()) for c in (scanner.x, scanner.y, scanner.z)]) + 12
    high = np.array([float(c.max()) for c in (scanner.x, scanner.y, scanner.z)]) - 12
    centres = np.round(g.uniform(low, high, (20000, 3)), 1)
    depth = -lungs(person.anatomical(Points(*np.ascontiguousarray(centres.T, np.float32))))
    found: list[Nodule] = []
    for centre, room in zip(centres, depth, strict=True):
        if len(found) == count:
            break
        ground_glass = count >= 3 and len(found) == count - 1
        radius = round(float(g.uniform(8, 11) if ground_glass else g.uniform(3.0, 7.5)), 1)
        apart = all(np.linalg.norm(centre - n.centre) > 35 for n in found)
        if apart and float(room) > 1.2 * radius + 3:
            tissue = "ground glass" if ground_glass else "nodule"
            found.append(Nodule((float(centre[0]), float(centre[1]), float(centre[2])), radius, tissue))
    return tuple(found)
