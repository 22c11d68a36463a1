"""Everything around the brain: dura, skull, orbits, sinuses, muscle, fat and skin."""

from __future__ import annotations

import numpy as np

from phantoms.cortex import cerebellum_hull, cerebrum
from phantoms.deep import brain_stem
from phantoms.fields import Field, Points, ellipsoid, smooth_max, smooth_min, tube


def intracranial(at: Points) -> Field:
    """Signed distance to the inner table of the skull, 2 to 3 mm outside the brain."""
    vault = ellipsoid(at, (0.0, -17.0, 18.5), (69.8, 88.8, 60.8))
    behind = np.clip((-35 - at.y) / np.float32(25), 0, 1)
    vault = smooth_max(vault, -(at.z + 10 + 18 * behind), 8)
    fossae = smooth_min(cerebrum(at) - 1.2, smooth_min(cerebellum_hull(at) - 1, brain_stem(at) - 5, 12), 8)
    cistern = ellipsoid(at, (0.0, -6.0, -17.0), (17.0, 17.0, 9.0))
    return smooth_min(smooth_min(vault, fossae, 3), cistern, 4)


def outer(at: Points, cranium: Field, thickness: float) -> Field:
    """Signed distance to the skin: the cranium thickened by skull and scalp, the face and the neck.

    Args:
        at: positions, mm.
        cranium: signed distance to the inner table.
        thickness: of skull and scalp together, mm.
    """
    face = ellipsoid(at, (0.0, 30.0, -62.0), (62.0, 66.0, 70.0))
    nose = tube(at, [(0, 92, -32), (0, 106, -58)], [6, 11], 4)
    neck = tube(at, [(0, -42, -60), (0, -50, -160)], [58, 60], 4)
    ear = ellipsoid(at.mirrored().moved(0.3 * (at.y + 25), 0, 0), (79.0, -25.0, -28.0), (3.5, 16.0, 28.0))
    nape = ellipsoid(at, (0.0, -62.0, -38.0), (62.0, 49.0, 44.0))
    skin = smooth_min(cranium - np.float32(thickness), smooth_min(smooth_min(face, neck, 20), nape, 12), 18)
    return np.minimum(smooth_min(skin, nose, 10), ear)


def eyes(at: Points) -> dict[str, Field]:
    """Signed distances of the parts of the orbits: fat, globe, lens, optic nerve, muscles."""
    half = at.mirrored()
    globe = ellipsoid(half, (32.0, 62.0, -33.0), (12.2, 12.2, 12.2))
    ring = [
        ((32 + 10 * dx, 60, -33 + 10 * dz), (20 + 3 * dx, 26, -30 + 3 * dz))
        for dx, dz in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    muscles = [
        tube(half, [start, ((start[0] + end[0]) / 2 + 2, 46, (start[2] + end[2]) / 2), end], [1.2, 2.2, 1.2])
        for start, end in ring
    ]
    return {
        "fat": smooth_min(tube(half, [(32, 58, -33), (20, 24, -30)], [19, 5], 4), globe - 3, 4),
        "globe": globe,
        "lens": ellipsoid(half, (32.0, 71.0, -33.0), (4.6, 2.2, 4.6)),
        "nerve": tube(half, [(30, 51, -33), (24, 36, -31), (16, 22, -28), (5, 8, -22)], [2.1, 1.9, 1.9, 2.2]),
        "muscles": np.minimum.reduce(muscles),
    }


def air_spaces(at: Points) -> Field:
    """Signed distance to the nasal cavity and the frontal, ethmoid, sphenoid and maxillary sinuses."""
    half = at.mirrored()
    frontal = ellipsoid(half, (9.0, 75.0, -11.0), (9.0, 3.6, 9.0))
    ethmoid = smooth_max(
        ellipsoid(half, (6.5, 48.0, -32.0), (7.0, 24.0, 11.0)),
        # thin bony septa between the ethmoid cells
        0.6 - np.abs(np.mod(half.y + 0.02 * half.y**2 + 0.5 * half.z, np.float32(9)) - 4.5),
        0.5,
    )
    sphenoid = ellipsoid(half, (7.5, 17.0, -33.0), (7.0, 9.0, 8.0))
    maxillary = ellipsoid(half, (31.0, 52.0, -66.0), (13.0, 16.0, 17.0))
    nasal = ellipsoid(half, (6.0, 55.0, -62.0), (4.0, 34.0, 18.0))
    pharynx = ellipsoid(at, (0.0, 8.0, -72.0), (11.0, 11.0, 22.0))
    canal = tube(half, [(76, -22, -30), (58, -20, -31)], [3.2, 2.6])
    septum = 0.8 - half.x
    return np.maximum(np.minimum.reduce([frontal, ethmoid, sphenoid, maxillary, nasal, pharynx, canal]), septum)


def mastoid(at: Points) -> Field:
    """Signed distance to the petrous and mastoid bone."""
    half = at.mirrored()
    return smooth_min(
        tube(half, [(22, -14, -33), (52, -30, -31)], [6, 11], 6),
        ellipsoid(half, (58.0, -36.0, -40.0), (11.0, 15.0, 17.0)),
        6,
    )


def jaw_muscles(at: Points) -> Field:
    """Signed distance to the temporal, masseter, pterygoid and nuchal muscles."""
    half = at.mirrored()
    temporal = ellipsoid(half.moved(0.15 * (half.z + 20), 0, 0), (70.0, 18.0, -12.0), (9.0, 32.0, 40.0))
    chewing = tube(half, [(56, 26, -50), (52, 10, -95)], [12, 13], 4)
    inner = tube(half, [(32, 18, -48), (42, 0, -80)], [10, 10], 4)
    neck = tube(half, [(16, -92, -48), (24, -84, -120)], [15, 24], 8)
    nuchal = ellipsoid(at, (0.0, -70.0, -46.0), (50.0, 42.0, 34.0))
    return np.minimum(smooth_min(temporal, chewing, 8), np.minimum(inner, smooth_min(neck, nuchal, 10)))
