"""The solid anatomy of the chest as signed distances: body wall, skeleton, mediastinum, diaphragm.

Coordinates are mm in the patient system LPS (left, posterior, superior) from a point behind the middle of the sternum,
in the average adult.
"""

from __future__ import annotations

import numpy as np

from phantoms.fields import Field, Points, ellipsoid, smooth_max, smooth_min, tube

RIB_PITCH = 25.0  # mm from rib to rib, and from vertebra to vertebra


def _oval(at: Points, centre_y: float, half_width: Field | float, half_depth: Field | float, power: float) -> Field:
    """Signed distance, to first order, to a superellipse in the axial plane."""
    u = np.abs(at.x) / np.asarray(half_width, np.float32)
    v = np.abs(at.y - np.float32(centre_y)) / np.asarray(half_depth, np.float32)
    radius = (u**power + v**power) ** np.float32(1 / power) + np.float32(1e-6)
    slope_x = (u / radius) ** (power - 1) / half_width
    slope_y = (v / radius) ** (power - 1) / half_depth
    return np.asarray((radius - 1) / np.sqrt(slope_x**2 + slope_y**2 + np.float32(1e-9)), np.float32)


def cage(at: Points) -> Field:
    """Signed distance to the inside of the ribs, with the notch of the spine."""
    width = 128 - 0.0022 * np.maximum(at.z + 20, 0) ** 2 - 0.10 * np.maximum(at.z - 30, 0)
    oval = _oval(at, 2.0, width, 88 - 0.12 * np.maximum(at.z - 10, 0), 2.4)
    notch = ellipsoid(Points(at.x, at.y, at.z * np.float32(0.01)), (0.0, 96.0, 0.0), (25.0, 52.0, 60.0))
    return smooth_max(oval, -notch, 14)


def body(at: Points, build: float) -> Field:
    """Signed distance to the skin; ``build`` is the thickness of the fat under it, mm."""
    shoulder = np.maximum(at.z - 25, 0)
    trunk = _oval(at, 8.0, 150 + build + 0.12 * shoulder, 103 + 0.6 * build, 2.4)
    arm_pit = ellipsoid(at.mirrored(), (126.0, 22.0, 105.0), (42.0 + 0.6 * build, 52.0, 70.0))
    spine_groove = np.float32(4.0) * np.exp(-((at.x / 14) ** 2)) * (at.y > 60)
    return smooth_min(trunk, arm_pit, 30) + spine_groove


def ribs(at: Points, inner: Field) -> Field:
    """Signed distance to the ribs, which slope down from the spine to the front.

    Args:
        at: positions, mm.
        inner: signed distance to the inside of the cage, which the ribs follow.
    """
    around = np.arctan2(np.abs(at.x), 30 + at.y)  # 0 at the spine, pi at the sternum
    fall = 105 * np.sin(np.clip(around, 0, 2.4) * np.float32(0.62)) ** 2
    level = np.mod(at.z + fall + np.float32(RIB_PITCH / 2), np.float32(RIB_PITCH)) - np.float32(RIB_PITCH / 2)
    # A rib cut at its slope shows longer than thick; the factor keeps distances true across the sloping curve.
    section = np.sqrt(((inner - 4.5) / 3.2) ** 2 + (level * np.float32(0.78) / 5.6) ** 2)
    bar = (section - 1) * np.float32(3.4)
    ends = np.maximum(around - 2.62, 12 - np.abs(at.x)) * np.float32(60)
    return smooth_max(bar, ends, 3)


def costal_cartilage(at: Points, inner: Field) -> Field:
    """Signed distance to the cartilage between the ribs' front ends and the sternum."""
    around = np.arctan2(np.abs(at.x), 30 + at.y)
    level = np.mod(at.z + 105 - 0.25 * np.abs(at.x), np.float32(RIB_PITCH)) - np.float32(RIB_PITCH / 2)
    section = np.sqrt(((inner - 4.5) / 4.0) ** 2 + (level / 7.0) ** 2)
    return smooth_max((section - 1) * np.float32(4), (np.float32(2.6) - around) * 60, 3)


def sternum(at: Points) -> Field:
    """Signed distance to the sternum."""
    return ellipsoid(Points(at.x, at.y + 0.10 * at.z, at.z), (0.0, -91.0, 25.0), (19.0, 6.5, 82.0))


def spine(at: Points) -> dict[str, Field]:
    """Signed distances of vertebral bodies, discs, arches with processes, and the canal."""
    y = at.y - np.float32(0.0012) * (at.z - 10) ** 2
    bowed = Points(at.x, y, at.z)
    level = np.mod(at.z, np.float32(RIB_PITCH)) - np.float32(RIB_PITCH / 2)
    waist = np.float32(1.6) * np.cos(level * np.float32(2 * np.pi / RIB_PITCH))
    column = _oval(bowed, 62.0, 17.5, 14.5, 2.2)
    canal = np.sqrt((at.x / 1.15) ** 2 + (y - 85) ** 2) - np.float32(8.0)
    flat = Points(at.x, y, level)
    half = flat.mirrored()
    lamina = np.abs(np.sqrt((at.x / 1.15) ** 2 + (y - 85) ** 2) - 11.0) - np.float32(2.6)
    lamina = np.maximum(lamina, np.abs(level + 2) - 8)
    spinous = tube(flat, [(0, 96, -1), (0, 107, -9)], [3.4, 2.8])
    transverse = tube(half, [(12, 84, 2), (32, 94, 3)], [4.6, 4.2])
    return {
        "body": np.maximum(column + waist, np.abs(level) - np.float32(RIB_PITCH / 2 - 2.6)),
        "disc": np.maximum(column + 1, np.float32(RIB_PITCH / 2 - 2.6) - np.abs(level)),
        "arch": np.minimum(smooth_min(lamina, spinous, 2), transverse),
        "canal": canal,
        "cord": np.sqrt((at.x / 1.2) ** 2 + (y - 84) ** 2) - np.float32(4.5),
    }


def scapulae(at: Points) -> Field:
    """Signed distance to the shoulder blades: thin curved plates with a spine, behind the upper ribs."""
    half = at.mirrored()
    u = half.x - 105
    plate = half.y - (70 - np.float32(0.55) * u - np.float32(0.008) * u**2 + np.float32(0.05) * half.z)
    plate = np.abs(plate) * np.float32(0.86) - np.float32(2.0) - 2.2 * np.exp(-(((u - 38) / 8) ** 2))
    edge = np.maximum(np.abs(u) - np.clip(0.5 * (half.z - 2), 0, 42), 4 - half.z)
    ridge = tube(half, [(92, 82, 60), (140, 66, 85)], [3.5, 5.0])
    return np.minimum(smooth_max(plate, edge, 3), ridge)


def diaphragm(at: Points) -> Field:
    """Height above the diaphragm, mm: negative in the abdomen. The right dome is the higher."""
    right = -36 - 0.0042 * ((at.x + 58) ** 2) - 0.0038 * (at.y + 14) ** 2
    left = -48 - 0.0042 * ((at.x - 62) ** 2) - 0.0038 * (at.y + 10) ** 2
    dome = -smooth_min(-right.astype(np.float32), -left.astype(np.float32), 14)
    return (at.z - dome) * np.float32(0.75)


def heart(at: Points) -> dict[str, Field]:
    """Signed distances of pericardium, myocardium and the four chambers."""
    tilt = at.moved(-0.25 * (at.z + 20), 0.0, 0.25 * (at.x - 15))
    lv = ellipsoid(tilt, (44.0, -22.0, -30.0), (35.0, 37.0, 32.0))
    rv = ellipsoid(tilt, (12.0, -48.0, -30.0), (46.0, 28.0, 32.0))
    ra = ellipsoid(at, (-34.0, -24.0, -20.0), (23.0, 29.0, 32.0))
    la = ellipsoid(at, (2.0, 18.0, -4.0), (35.0, 18.0, 24.0))
    muscle = smooth_min(smooth_min(lv, rv, 8), smooth_min(ra, la, 6), 8)
    cavity_lv = ellipsoid(tilt, (43.0, -20.0, -28.0), (22.0, 25.0, 23.0))
    cavity_rv = smooth_max(rv + 4, 4 - lv, 4)
    return {
        "sac": muscle - 6,
        "muscle": muscle,
        "left": np.minimum(cavity_lv, la + np.float32(2)),
        "right": np.minimum(cavity_rv, ra + np.float32(2.5)),
    }


def vessels(at: Points) -> dict[str, Field]:
    """Signed distances of the great vessels' lumen, arterial and venous, and of the pulmonary arteries."""
    aorta = tube(
        at,
        [
            (8, -14, 4),
            (-8, -24, 24),
            (-10, -22, 42),
            (0, -6, 56),
            (14, 16, 60),
            (24, 36, 52),
            (25, 46, 30),
            (20, 46, -80),
        ],
        [14, 14.5, 14, 13, 12.5, 12, 11.5, 10.5],
        4,
    )
    branches = [
        tube(at, [(-12, -16, 54), (-14, -22, 110)], [6.0, 5.5]),
        tube(at, [(2, -6, 62), (10, -14, 110)], [3.6, 3.4]),
        tube(at, [(12, 8, 66), (26, 6, 110)], [4.4, 4.0]),
    ]
    trunk = tube(at, [(20, -38, 2), (24, -26, 22), (14, -2, 32)], [13, 12.5, 11], 4)
    right = tube(at, [(14, -4, 32), (-14, 0, 28), (-40, 8, 20)], [9.5, 9.0, 8.0], 4)
    left = tube(at, [(18, -6, 32), (34, 10, 32), (44, 16, 20)], [10, 9.0, 8.0], 4)
    superior_cava = tube(at, [(-30, -22, 100), (-28, -20, 40), (-32, -22, 5)], [8.5, 9.0, 9.5])
    inferior_cava = tube(at, [(-26, 2, -20), (-26, 14, -90)], [10.5, 11.0])
    brachiocephalic = tube(at, [(-28, -24, 64), (6, -36, 72), (40, -28, 92)], [7, 6, 6.5])
    azygos = tube(at, [(-8, 48, -80), (-8, 46, 34), (-14, 26, 44), (-26, -6, 38)], [3.2, 3.6, 3.6, 3.6])
    lung_veins = [
        tube(at.mirrored(), [(24, 18, 4), (46, 20, -2)], [6.5, 5.5]),
        tube(at.mirrored(), [(22, 14, 10), (46, 2, 18)], [6.0, 5.0]),
    ]
    return {
        "arterial": np.minimum.reduce([aorta, *branches, *lung_veins]),
        "venous": np.minimum.reduce([superior_cava, inferior_cava, brachiocephalic, azygos]),
        "pulmonary": smooth_min(trunk, np.minimum(right, left), 4),
    }


def windpipe(at: Points) -> Field:
    """Signed distance to the lumen of trachea and main bronchi down to the hila."""
    trachea = tube(Points(at.x, at.y, at.z), [(-2, 22, 110), (-2, 24, 46)], [8.5, 8.2])
    right = tube(at, [(-2, 24, 46), (-22, 24, 30), (-44, 22, 16)], [7.6, 6.8, 5.2])
    left = tube(at, [(-2, 24, 46), (22, 24, 24), (44, 24, 10)], [7.2, 6.0, 5.0])
    return smooth_min(trachea, smooth_min(right, left, 2), 3)


def oesophagus(at: Points) -> Field:
    """Signed distance to the outside of the oesophagus."""
    return tube(at, [(4, 38, 110), (3, 42, 30), (4, 43, -20), (16, 36, -60)], [6.5, 6.5, 7.0, 8.0])


def mediastinum(at: Points) -> Field:
    """Signed distance to the space between the lungs: heart, vessels, airways and the fat that joins them."""
    inside = np.minimum.reduce(
        [heart(at)["sac"], *(v - 3 for v in vessels(at).values()), windpipe(at) - 4, oesophagus(at) - 3]
    )
    core = ellipsoid(at, (2.0, 14.0, 50.0), (24.0, 36.0, 72.0))
    front = ellipsoid(at, (4.0, -62.0, 20.0), (11.0, 34.0, 90.0))
    return smooth_min(inside, smooth_min(core, front, 14), 8)


def table(at: Points) -> tuple[Field, Field]:
    """Signed distances to the shell and the foam core of the patient table."""
    top = at.y - (np.float32(134.0) - np.float32(0.0011) * at.x**2)
    slab = np.maximum(np.maximum(-top, top - 26 + 0.0008 * at.x**2), np.abs(at.x) - 172)
    return np.abs(slab) - np.float32(0.9), slab
