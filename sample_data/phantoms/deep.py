"""Structures inside and below the hemispheres: callosum, nuclei, ventricles, brain stem, arteries."""

from __future__ import annotations

import numpy as np

from phantoms.cortex import arch
from phantoms.fields import Field, Points, ellipsoid, smooth_max, smooth_min, tube
from phantoms.subject import Head


def callosum(at: Points) -> Field:
    """Signed distance to the corpus callosum near the midline; laterally it is white matter among white matter."""
    thickness = 3.0 + 1.8 * np.exp(-(((at.y - 27) / 9) ** 2)) + 2.2 * np.exp(-(((at.y + 38) / 8) ** 2))
    along = np.maximum(-6 - at.z, np.where(at.y < -5, 2 - at.z, np.float32(-9)))
    return smooth_max(smooth_max(np.abs(arch(at) + 3) - thickness.astype(np.float32), along, 3), np.abs(at.x) - 16, 6)


def lateral_ventricles(at: Points, head: Head) -> Field:
    """Signed distance to the lateral ventricles with frontal, occipital and temporal horns."""
    half = at.mirrored()
    calibre = head.ventricles
    # The body is wider than high: its tube is drawn in a frame compressed from side to side.
    body = tube(
        Points(half.x * np.float32(0.6), half.y, half.z),
        [(8.5, 31, 5), (5, 17, 11), (4.5, -5, 18.5), (8, -25, 18), (13, -38, 11), (16.5, -48, 8), (15, -66, 6)],
        [calibre * r for r in (1.4, 4.4, 4.2, 4.2, 5.0, 3.8, 1.0)],
        3,
    )
    horn = tube(
        half,
        [(24, -41, 8), (33, -38, -4), (34, -22, -14), (29, -9, -18)],
        [calibre * r for r in (4.2, 2.6, 1.7, 1.3)],
        3,
    )
    # Under the callosum the bodies meet at the septum.
    roof = smooth_max(arch(at) + np.float32(6.3), half.x - np.float32(6.5 * calibre), 4)
    middle = smooth_max(roof, np.maximum(8.5 - half.z - 0.25 * np.maximum(half.y, 0), -30 - half.y), 3)
    wings = smooth_min(smooth_min(body, middle, 3), horn, 2)
    return np.maximum(wings, 0.6 - half.x)


def fornix(at: Points) -> Field:
    """Signed distance to the fornix, which arches under the septum from the splenium to the hypothalamus."""
    half = at.mirrored()
    return tube(
        half, [(12, -34, 8), (3, -24, 14), (1.5, -8, 14), (1.5, 1, 8), (2, 0, -4)], [1.6, 1.8, 1.8, 1.6, 1.2], 2
    )


def third_ventricle(at: Points, head: Head) -> Field:
    """Signed distance to the third ventricle and the aqueduct."""
    flat = Points(at.x * np.float32(1 / (0.9 * head.ventricles)), at.y, at.z)
    slit = ellipsoid(flat, (0.0, -11.0, 1.0), (2.4, 15.0, 11.0))
    return smooth_min(slit, tube(at, [(0, -24, 2), (0, -31, -8), (0, -38, -19)], [1.4, 0.9, 1.3]), 1)


def fourth_ventricle(at: Points) -> Field:
    """Signed distance to the fourth ventricle, a tent behind the pons."""
    half = at.mirrored()
    return smooth_min(
        ellipsoid(half, (0.0, -42.0, -31.0), (7.0, 5.0, 10.0)),
        tube(half, [(0, -40, -33), (12, -44, -36)], [2.5, 0.8]),
        2,
    )


def thalamus(at: Points) -> Field:
    """Signed distance to the pair of thalami."""
    half = at.mirrored()
    turned = half.moved(0.35 * (half.y + 17), 0, 0)
    return ellipsoid(turned, (11.0, -17.0, 7.5), (8.5, 15.0, 9.0))


def caudate(at: Points) -> Field:
    """Signed distance to the caudate nuclei: head, body and tail around the lateral ventricle."""
    half = at.mirrored()
    return tube(
        half,
        [(13, 20, 1), (14.5, 12, 8), (17, -4, 18), (21, -22, 20), (28, -36, 13)],
        [5.0, 5.6, 3.4, 2.2, 1.2],
        3,
    )


def putamen(at: Points) -> Field:
    """Signed distance to the putamina."""
    half = at.mirrored()
    turned = half.moved(0.28 * (half.y - 2) + 0.006 * (half.y - 2) ** 2, 0, 0)
    return ellipsoid(turned, (25.5, 1.0, 3.0), (5.2, 16.5, 10.5))


def pallidum(at: Points) -> Field:
    """Signed distance to the globus pallidus, medial to the putamen."""
    half = at.mirrored()
    return ellipsoid(half.moved(0.32 * (half.y + 2), 0, 0), (18.5, -2.0, 0.5), (4.2, 9.0, 6.5))


def claustrum(at: Points) -> Field:
    """Signed distance to the claustrum, a thin sheet between putamen and insula."""
    half = at.mirrored()
    sheet = np.abs(half.x - (np.float32(33.0) - np.float32(0.006) * (half.y + 2) ** 2)) - np.float32(0.6)
    return np.asarray(np.maximum(sheet, np.maximum(np.abs(half.y - 1) - 17, np.abs(half.z - 3) - 11)))


def hippocampus(at: Points) -> Field:
    """Signed distance to amygdala and hippocampus, medial to the temporal horn."""
    half = at.mirrored()
    return tube(half, [(22, -4, -17), (26, -14, -18), (28, -26, -12), (25, -36, -4)], [6.5, 5.0, 4.2, 2.6], 3)


def brain_stem(at: Points) -> Field:
    """Signed distance to midbrain with peduncles, pons, medulla and the cerebellar peduncles."""
    half = at.mirrored()
    axis = tube(
        at, [(0, -24, -6), (0, -27, -16), (0, -31, -34), (0, -37, -50), (0, -42, -90)], [11, 11.5, 11, 8, 5.5], 5
    )
    pons = ellipsoid(at, (0.0, -24.0, -29.0), (17.0, 11.0, 12.5))
    leg = tube(half, [(9, -17, -18), (15, -12, -6), (19, -8, 3)], [5.5, 5.5, 4.5], 4)
    arm = tube(half, [(10, -30, -31), (18, -44, -34)], [7.0, 7.5], 4)
    return smooth_min(smooth_min(smooth_min(axis, pons, 6), leg, 4), arm, 5)


def dentate(at: Points) -> Field:
    """Signed distance to the dentate nuclei of the cerebellum."""
    half = at.mirrored()
    return np.abs(ellipsoid(half, (15.0, -55.0, -35.0), (7.5, 6.0, 6.0))) - np.float32(0.7)


def arteries(at: Points) -> Field:
    """Signed distance to the large arteries of the circle of Willis and their first branches."""
    half = at.mirrored()
    trunks = tube(half, [(13, -2, -60), (13, 2, -34), (9, 8, -26), (11, 6, -18)], [2.1, 2.1, 1.9, 1.7])
    middle = tube(
        half,
        [(11, 6, -18), (22, 6, -15), (33, 8, -11), (39, 2, -4), (40, -14, 4), (45, -30, 11)],
        [1.3, 1.2, 1.1, 1.0, 0.8, 0.6],
    )
    anterior = tube(
        half,
        [(11, 6, -18), (3, 14, -15), (2, 26, -11), (3, 35, -2), (2, 38, 8), (3, 34, 18), (2, 25, 26), (3, 10, 31)],
        [0.9, 0.8, 0.7, 0.7, 0.6, 0.6, 0.5, 0.4],
    )
    basilar = tube(at, [(0, -30, -58), (1, -16, -44), (0, -11, -30), (0, -13, -14)], [1.8, 1.7, 1.7, 1.6])
    posterior = tube(half, [(0, -13, -14), (10, -16, -13), (19, -30, -10), (16, -48, -4)], [1.4, 1.2, 1.1, 0.8])
    return np.asarray(np.minimum.reduce([trunks, middle, anterior, basilar, posterior]))
