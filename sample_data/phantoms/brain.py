"""A head for MR: tissue maps of one person on the voxels of one scan."""

from __future__ import annotations

import math

import numpy as np

from phantoms import cortex, deep, skull
from phantoms.contrasts import TISSUES
from phantoms.fields import Field, Points, Waves, bounded_sheet, ellipsoid, stream, texture
from phantoms.subject import Head, rotation, scan_affine, voxel_centres
from phantoms.tissue_maps import Canvas, TissueMaps

# Deep nuclei between grey and white matter, by the density of myelinated fibres in them.
_THALAMUS = {"grey": 0.55, "white": 0.45}
_STRIATUM = {"grey": 0.85, "white": 0.15}
_STEM = {"grey": 0.22, "white": 0.78}


def brain(
    seed: int,
    shape: tuple[int, int, int] = (40, 192, 160),
    spacing: tuple[float, float, float] = (3.0, 1.15, 1.15),
    *,
    centre: tuple[float, float, float] = (0.0, -9.0, 14.0),
    lesions: int = 0,
) -> TissueMaps:
    """Tissue maps of the person of a seed.

    Args:
        seed: another seed is another person, pose and sensitivity of the receiver.
        shape: voxels (z, y, x).
        spacing: mm (z, y, x).
        centre: of the field of view, mm right, anterior and superior of the anterior commissure.
        lesions: number of lesions in the white matter.
    """
    head = Head.draw(seed, lesions)
    slices = max(1, math.ceil(spacing[0] / 1.6))
    affine = scan_affine(shape, spacing, rotation(*head.tilt), centre)
    scanner = voxel_centres(shape, affine, slices)
    fine = (spacing[0] / slices, spacing[1], spacing[2])
    at = head.anatomical(scanner)
    canvas = Canvas(tuple(TISSUES), "air", at.x.shape, float(np.cbrt(np.prod(fine))))
    cranium = _surroundings(canvas, at, head)
    _hemispheres(canvas, at, head, fine)
    _hindbrain(canvas, at, head)
    _partitions(canvas, at, cranium)
    _lesions(canvas, at, head)
    g = stream(seed, "receiver")
    bias = 1 + np.float32(0.09) * Waves.draw(g, 260, spread=0.3, count=10)(voxel_centres(shape, affine))
    grains = [texture(stream(seed, f"grain {length}"), shape, spacing, length) for length in (1.6, 5.0)]
    grain = np.float32(0.85) * grains[0] + np.float32(0.53) * grains[1]
    return TissueMaps(canvas.names, canvas.averaged(slices), affine, grain, bias)


def _surroundings(canvas: Canvas, at: Points, head: Head) -> Field:
    """Skin to cerebrospinal fluid; returns the signed distance to the inner table of the skull."""
    g = stream(head.seed, "skull")
    swell = Waves.draw(g, 55, count=16)(at)
    cranium = skull.intracranial(at)
    bone = np.float32(head.skull) * (1 + np.float32(0.12) * swell)
    outer = skull.outer(at, cranium, head.skull + head.scalp)
    canvas.paint(outer, "skin")
    canvas.paint(outer + np.float32(1.8), "fat")
    strands = Waves.draw(g, 13, spread=0.4, count=24)(at)
    deep_face = np.maximum(outer + 9, 2 - (cranium - bone))
    canvas.paint(np.maximum(deep_face, (np.float32(-0.3) - strands) * 3), "muscle")
    canvas.paint(np.maximum(skull.jaw_muscles(at), outer + 4) + strands * np.float32(0.8), "muscle")
    galea = np.maximum(cranium - bone - np.float32(0.35 * head.scalp), outer + np.float32(2.2))
    canvas.paint(galea + np.float32(0.4) * strands, {"muscle": 0.7, "fat": 0.3})
    canvas.paint(cranium - bone, "bone")
    diploe = np.maximum(np.float32(1.5) - cranium, cranium - bone + np.float32(1.3))
    canvas.paint(diploe + np.float32(0.5) * strands, "marrow", np.clip(0.75 + 0.25 * strands, 0.2, 1))
    petrous = skull.mastoid(at)
    canvas.paint(petrous, "bone")
    canvas.paint(np.maximum(petrous + 3, (Waves.draw(g, 7, count=24)(at) - np.float32(0.3)) * 2), "marrow", 0.6)
    orbit = skull.eyes(at)
    canvas.paint(np.maximum(orbit["fat"], outer + 2), "fat")
    canvas.paint(orbit["muscles"], "muscle")
    canvas.paint(orbit["globe"], "dura")
    canvas.paint(orbit["globe"] + np.float32(1.1), "csf")
    canvas.paint(orbit["lens"], "muscle")
    canvas.paint(skull.air_spaces(at) - np.float32(0.7), "skin")
    canvas.paint(skull.air_spaces(at), "air")
    canvas.paint(cranium, "dura")
    canvas.paint(cranium + np.float32(0.7), "csf")
    canvas.paint(orbit["nerve"], "white")
    return cranium


def _hemispheres(canvas: Canvas, at: Points, head: Head, spacing: tuple[float, float, float]) -> None:
    """Cortex, white matter, nuclei and ventricles."""
    depth = cortex.pial_depth(at, head, spacing)
    ribbon = head.cortex * (1 + np.float32(0.06) * Waves.draw(stream(head.seed, "ribbon"), 40, count=12)(at))
    canvas.paint(-depth, "grey")
    canvas.paint(ribbon - depth, "white")
    canvas.paint(deep.callosum(at), "white")
    canvas.paint(deep.hippocampus(at), {"grey": 0.9, "white": 0.1})
    canvas.paint(deep.claustrum(at), _STRIATUM)
    canvas.paint(deep.putamen(at), _STRIATUM)
    canvas.paint(deep.pallidum(at), "pallidum")
    canvas.paint(deep.lateral_ventricles(at, head), "csf")
    canvas.paint(deep.caudate(at), _STRIATUM)
    canvas.paint(deep.thalamus(at), _THALAMUS)
    canvas.paint(deep.fornix(at), "white")


def _hindbrain(canvas: Canvas, at: Points, head: Head) -> None:
    """Cerebellum, brain stem and the ventricles in the midline."""
    depth = cortex.cerebellar_depth(at, head)
    canvas.paint(-depth, "grey")
    canvas.paint(np.float32(1.25) - depth, "white")
    canvas.paint(deep.dentate(at), {"grey": 0.7, "white": 0.3})
    canvas.paint(deep.brain_stem(at), _STEM)
    canvas.paint(deep.third_ventricle(at, head), "csf")
    canvas.paint(deep.fourth_ventricle(at), "csf")
    canvas.paint(deep.arteries(at), "artery")


def _partitions(canvas: Canvas, at: Points, cranium: Field) -> None:
    """Falx, tentorium and the venous sinuses along their edges."""
    falx = bounded_sheet(at.x, np.maximum(9 - cortex.arch(at), -12 - at.z)) - np.float32(0.45)
    canvas.paint(np.maximum(falx, cranium), "dura")
    between = (cortex.cerebrum(at) - cortex.cerebellum_hull(at)) / 2
    tentorium = bounded_sheet(between, np.maximum(at.y + 42, -44 - at.z)) - np.float32(0.5)
    canvas.paint(np.maximum(tentorium, cranium), "dura")
    sagittal = np.maximum(np.abs(at.x) * np.float32(1.1) - cranium - 6, cranium)
    canvas.paint(np.maximum(sagittal, np.maximum(-14 - at.z, 22 - cortex.arch(at))), "vein")
    transverse = np.sqrt(between**2 + (cranium + 2) ** 2) - np.float32(3.0)
    canvas.paint(np.maximum(transverse, np.maximum(cranium, at.y + 45)), "vein")


def _lesions(canvas: Canvas, at: Points, head: Head) -> None:
    """Ovoid lesions around the lateral ventricles, in white matter only."""
    g = stream(head.seed, "lesions")
    for _ in range(head.lesions):
        side = 1 if g.uniform() < 0.5 else -1
        centre = (side * float(g.uniform(16, 32)), float(g.uniform(-50, 36)), float(g.uniform(14, 32)))
        radii = (float(g.uniform(1.5, 4)), float(g.uniform(2, 5)), float(g.uniform(1.5, 4.5)))
        canvas.paint(ellipsoid(at, centre, radii), "lesion", canvas.fractions[canvas.names.index("white")].copy())
