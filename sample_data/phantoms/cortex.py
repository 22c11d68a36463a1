"""The folded cerebral cortex and the cerebellum: depth below the pial surface, in mm.

A sulcus is a sheet that goes in from the hull of the brain to a varying depth. The sheets are zero sets of random
fields that do not vary with depth, so they stand upright on the hull and wind between gyri of an even width, and the
cortex is the layer of a given depth below what remains: a ribbon of constant thickness around crowns and fundi.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phantoms.fields import (
    Field,
    Points,
    Waves,
    bounded_sheet,
    ellipsoid,
    sheet_distance,
    smooth_max,
    smooth_min,
    stream,
)
from phantoms.subject import Head

# Callosal arch in the midline plane: centre (y, z) and half axes, mm from the anterior commissure (MNI space).
ARCH = (-5.0, 4.0, 38.0, 25.0)


def arch(at: Points) -> Field:
    """Signed distance (mm) to the ellipse that the corpus callosum follows, which shrinks away from the midline."""
    y, z, ry, rz = (np.float32(v) for v in ARCH)
    u, v = (at.y - y) / ry, (at.z - z) / rz
    radius = np.sqrt(u**2 + v**2)
    sagittal = radius * (radius - 1) / (np.sqrt((u / ry) ** 2 + (v / rz) ** 2) + np.float32(1e-6))
    return np.asarray(sagittal + np.float32(0.018) * np.minimum(np.abs(at.x), 30) ** 2)


def cerebrum(at: Points) -> Field:
    """Signed distance to the smooth hull of both hemispheres with their temporal lobes."""
    half = at.mirrored()
    upper = ellipsoid(half, (0.0, -17.0, 19.0), (69.0, 88.0, 59.0))
    occipital = ellipsoid(half, (24.0, -78.0, 2.0), (26.0, 27.0, 26.0))
    behind = np.clip((-22 - half.y) / np.float32(25), 0, 1)
    floor = -(half.z + np.float32(15.0) + np.float32(0.05) * half.x + 14 * behind**2 * (3 - 2 * behind))
    upper = smooth_max(smooth_min(upper, occipital, 8), floor, 10)
    temporal = ellipsoid(half.moved(-0.0, 0.0, 0.22 * (half.y + 15)), (46.0, -14.0, -19.0), (20.0, 40.0, 20.0))
    return smooth_max(smooth_min(upper, temporal, 3), 1.5 - cerebellum_hull(at), 4)


def central_core(at: Points) -> Field:
    """Signed distance to the region without cortex: callosum, basal ganglia, diencephalon and the stalk below it."""
    half = at.mirrored()
    arched = smooth_max(arch(at), half.x - 24, 14)
    basal = ellipsoid(half, (17.0, -6.0, 6.0), (21.0, 27.0, 15.0))
    stalk = ellipsoid(half, (0.0, -20.0, -10.0), (14.0, 13.0, 12.0))
    return smooth_min(smooth_min(arched, basal, 4), stalk, 6)


def _sylvian(at: Points) -> Field:
    """Distance to the lateral fissure and, at its bottom, to the cleft over the insula."""
    half = at.mirrored()
    level = half.z - (np.float32(1.0) - np.float32(0.28) * half.y)
    along = np.maximum(half.y - 24, -48 - half.y)
    stem = bounded_sheet(level, np.maximum(38 - half.x, along))
    cleft = bounded_sheet(
        half.x - (np.float32(39.0) - np.float32(0.004) * (half.y + 5) ** 2),
        np.maximum(np.abs(level) - 13, np.maximum(half.y - 20, -30 - half.y)),
    )
    return np.minimum(stem, cleft)


def _on_surface(at: Points) -> Points:
    """Positions moved outwards along the radius of their hemisphere or temporal lobe, most of the way to the hull.

    A field of the moved position varies little with depth, so its zero set stands upright on the hull.
    """
    half = at.mirrored()
    side = np.sign(at.x)
    lobes = (((27.0, -17.0, 18.0), (43.0, 88.0, 60.0)), ((44.0, -16.0, -20.0), (21.0, 42.0, 21.0)))
    moved, radius = [], []
    for centre, semi_axes in lobes:
        u = [c - np.float32(o) for c, o in zip((half.x, half.y, half.z), centre, strict=True)]
        scaled = np.sqrt(sum((c / np.float32(r)) ** 2 for c, r in zip(u, semi_axes, strict=True)))
        stretch = np.clip(scaled, 0.15, 1) ** np.float32(-0.5)
        moved.append([c * stretch + np.float32(o) for c, o in zip(u, centre, strict=True)])
        radius.append(scaled)
    share = np.clip((radius[0] - radius[1]) * 4 + np.float32(0.5), 0, 1)
    x, y, z = (a + share * (b - a) for a, b in zip(*moved, strict=True))
    return Points(side * x, y, z)


def pial_depth(at: Points, head: Head, spacing: Sequence[float]) -> Field:
    """Depth (mm, positive inside) below the pial surface of the cerebrum, large in the central core."""
    g = stream(head.seed, "cortex")
    width_field = Waves.draw(g, 60, count=12)
    narrow = np.float32(head.sulcus / 2) * (1 + np.float32(0.35) * width_field(at))
    fissure = bounded_sheet(np.abs(at.x), -arch(at) + 1) - 1.0
    callosal = bounded_sheet(arch(at) - 1.5, np.abs(at.x) - 9) - 0.6
    depth = smooth_min(-cerebrum(at), np.minimum(fissure, callosal), 2)
    inward = depth = np.minimum(depth, _sylvian(at) - narrow - np.float32(0.4))
    surface = _on_surface(at)
    # (wavelength, mean depth, variation of depth) in mm: primary sulci, and shallow ones that indent the gyri.
    for wavelength, mean, variation in ((27.0, 12.5, 5.5), (17.0, 1.0, 4.0)):
        bend = Waves.draw(g, 32, count=12)
        bent = surface.moved(bend(at) * 2.5, bend(at.moved(50, 0, 0)) * 2.5, bend(at.moved(0, 50, 0)) * 2.5)
        field = Waves.draw(g, wavelength, spread=0.22, count=40)(bent)
        reach = mean + variation * Waves.draw(g, 40, count=16)(surface)
        sheet = sheet_distance(field, 2 * np.pi / wavelength, spacing)
        depth = smooth_min(depth, bounded_sheet(sheet, inward - reach) - narrow, 1.5)
    return np.maximum(depth, -central_core(at))


def cerebellum_hull(at: Points) -> Field:
    """Signed distance to the smooth hull of the cerebellum."""
    half = at.mirrored()
    lobe = ellipsoid(half.moved(0, 0.3 * (half.x - 25), 0), (25.0, -65.0, -34.0), (28.0, 27.0, 23.0))
    vermis = ellipsoid(half, (0.0, -62.0, -27.0), (14.0, 23.0, 24.0))
    return smooth_min(lobe, vermis, 6)


def cerebellar_depth(at: Points, head: Head) -> Field:
    """Depth (mm, positive inside) below the surface of the cerebellar folia.

    The folia are leaves of about 3 mm that radiate from the roof of the fourth ventricle; every fourth cleft goes
    deeper and every twelfth bounds a lobule, which makes the branching of the arbor vitae.
    """
    g = stream(head.seed, "cerebellum")
    bend = Waves.draw(g, 34, count=16)
    inside = -cerebellum_hull(at)
    y, z = at.y + 45, at.z + 36 + np.float32(0.5) * (np.sqrt(at.x**2 + 64) - 18)
    radius = np.sqrt(y**2 + z**2 + (np.float32(0.45) * at.x) ** 2) + np.float32(1e-3)
    n_leaves = 60
    angle = np.arctan2(z, -np.sqrt(y**2 + (np.float32(0.45) * at.x) ** 2)) * n_leaves + bend(at) * np.float32(3.0)
    depth = inside
    for every, mean, half_width in ((1, 4.2, 0.2), (4, 11.0, 0.3), (12, 21.0, 0.5)):
        phase = angle / every
        wrapped = phase - 2 * np.pi * np.round(phase / np.float32(2 * np.pi))
        sheet = np.abs(wrapped) * radius * np.float32(every / n_leaves)
        reach = mean * (1 + np.float32(0.25) * bend(at.moved(20 * every, 0, 0)))
        depth = np.minimum(depth, bounded_sheet(sheet, inside - reach) - half_width)
    return depth
