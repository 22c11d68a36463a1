"""What differs from one subject to the next, and how a scan's voxels fall on the subject."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phantoms.fields import Points, Waves, stream


@dataclass(frozen=True)
class Head:
    """One person's head.

    Attributes:
        seed: of all that is drawn for the person.
        scale: size along x, y, z relative to the average adult.
        cortex: thickness of the cortical ribbon, mm.
        sulcus: mean width of the sulci, mm; larger with age.
        ventricles: calibre of the ventricles relative to the average.
        skull: thickness of the calvaria, mm.
        scalp: thickness of the scalp, mm.
        tilt: pitch, roll and yaw of the slices against the head, radians.
        lesions: number of white-matter lesions.
    """

    seed: int
    scale: tuple[float, float, float]
    cortex: float
    sulcus: float
    ventricles: float
    skull: float
    scalp: float
    tilt: tuple[float, float, float]
    lesions: int

    @classmethod
    def draw(cls, seed: int, lesions: int = 0) -> Head:
        """The person of a seed."""
        g = stream(seed, "head")
        length, width, height = g.normal(1, (0.03, 0.025, 0.03))
        return cls(
            seed=seed,
            scale=(float(width), float(length), float(height)),
            cortex=float(g.uniform(2.5, 3.0)),
            sulcus=float(g.uniform(0.8, 1.9)),
            ventricles=float(g.uniform(0.8, 1.3)),
            skull=float(g.uniform(5.5, 7.5)),
            scalp=float(g.uniform(4.0, 6.5)),
            tilt=(float(g.normal(0.07, 0.04)), float(g.normal(0, 0.03)), float(g.normal(0, 0.03))),
            lesions=lesions,
        )

    def anatomical(self, scanner: Points) -> Points:
        """Positions in the average head (mm right, anterior and superior of the anterior commissure).

        A smooth displacement of about 1.3 mm makes the two sides of a head differ and each head differ from all others.
        """
        return _displaced(scanner, self.scale, stream(self.seed, "displacement"), 110, 1.3)


@dataclass(frozen=True)
class Torso:
    """One person's trunk.

    Attributes:
        seed: of all that is drawn for the person.
        scale: size along x, y, z relative to the average adult.
        build: thickness of the fat under the skin, mm.
    """

    seed: int
    scale: tuple[float, float, float]
    build: float

    @classmethod
    def draw(cls, seed: int) -> Torso:
        """The person of a seed."""
        g = stream(seed, "torso")
        width, depth, height = g.normal(1, (0.03, 0.03, 0.03))
        return cls(seed, (float(width), float(depth), float(height)), float(g.uniform(9, 20)))

    def anatomical(self, scanner: Points) -> Points:
        """Positions in the average chest (mm left, posterior and superior of a point behind the sternum)."""
        return _displaced(scanner, self.scale, stream(self.seed, "torso displacement"), 190, 2.0)


def _displaced(
    scanner: Points, scale: tuple[float, float, float], g: np.random.Generator, wavelength: float, amount: float
) -> Points:
    points = Points(*(c / np.float32(s) for c, s in zip((scanner.x, scanner.y, scanner.z), scale, strict=True)))
    waves = [Waves.draw(g, wavelength, spread=0.4, count=10) for _ in range(3)]
    dx, dy, dz = (w(points) * np.float32(amount) for w in waves)
    return points.moved(dx, dy, dz)


def rotation(pitch: float, roll: float, yaw: float) -> NDArray[np.float64]:
    """Rotation about x, then y, then z (radians)."""
    c, s = np.cos([pitch, roll, yaw]), np.sin([pitch, roll, yaw])
    about_x = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    about_y = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    about_z = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def scan_affine(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    turn: NDArray[np.float64],
    centre: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Affine of voxel index (x, y, z) to mm for a grid given as (z, y, x), turned about its centre."""
    size = np.array(shape[::-1])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing[::-1])
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((size - 1) / 2)
    return affine


def voxel_centres(shape: tuple[int, int, int], affine: NDArray[np.float64], slices_per_voxel: int = 1) -> Points:
    """Positions of a grid of (z, y, x) voxels, each cut into thinner slices for the slice profile."""
    n = slices_per_voxel
    k = ((np.arange(shape[0] * n) + 0.5) / n - 0.5).reshape(-1, 1, 1)
    j = np.arange(shape[1]).reshape(1, -1, 1)
    i = np.arange(shape[2]).reshape(1, 1, -1)
    x, y, z = (
        np.asarray(affine[r, 0] * i + affine[r, 1] * j + affine[r, 2] * k + affine[r, 3], np.float32) for r in range(3)
    )
    return Points(x, y, z)
