"""Smooth random fields and signed distances of simple solids, as functions of the position in mm.

A shape is a signed distance (mm, negative inside). Everything is a function of the position, so a subject of a given
seed has the same anatomy on any sampling grid.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[Any]  # float32: a double would cost twice the memory for nothing
Triple = tuple[float, float, float]

_CHUNK = 1 << 16  # positions evaluated at a time: the wave sums stay in the processor's cache


def stream(seed: int, name: str) -> np.random.Generator:
    """An independent random stream for one part of one subject, so that parts can change without moving others."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(name.encode())])))


@dataclass(frozen=True)
class Points:
    """Positions in mm: three float32 arrays of one shape ``(z, y, x)``."""

    x: Field
    y: Field
    z: Field

    def moved(self, dx: Field | float, dy: Field | float, dz: Field | float) -> Points:
        """The positions displaced by (dx, dy, dz) mm."""
        return Points(self.x + dx, self.y + dy, self.z + dz)

    def mirrored(self) -> Points:
        """The positions folded onto one side of the midline plane x = 0, for paired organs."""
        return Points(np.abs(self.x), self.y, self.z)


@dataclass(frozen=True)
class Waves:
    """A stationary random field of unit variance: a sum of plane waves of nearly one wavelength.

    By the central limit theorem the field is nearly Gaussian; a narrow ring of wavelengths makes its zero set a
    labyrinth of sheets about half a wavelength apart.
    """

    vectors: NDArray[np.float32]
    phases: NDArray[np.float32]

    @classmethod
    def draw(cls, generator: np.random.Generator, wavelength: float, *, spread: float = 0.2, count: int = 32) -> Waves:
        """Draw a field.

        Args:
            generator: source of the draw.
            wavelength: mm.
            spread: relative width of the ring of wave numbers.
            count: number of plane waves.
        """
        directions = generator.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        number = 2 * np.pi / wavelength * (1 + spread * generator.uniform(-1, 1, (count, 1)))
        phases = generator.uniform(0, 2 * np.pi, count)
        return cls((directions * number).astype(np.float32), phases.astype(np.float32))

    def __call__(self, at: Points) -> Field:
        """Value of the field at each position."""
        shape = at.x.shape
        x, y, z = (np.ascontiguousarray(c).reshape(-1) for c in (at.x, at.y, at.z))
        out = np.empty(x.size, np.float32)
        for low in range(0, x.size, _CHUNK):
            part = slice(low, low + _CHUNK)
            total = np.zeros(x[part].size, np.float32)
            for (kx, ky, kz), phase in zip(self.vectors, self.phases, strict=True):
                total += np.cos(kx * x[part] + ky * y[part] + kz * z[part] + phase)
            out[part] = total
        return out.reshape(shape) * np.float32(np.sqrt(2 / len(self.phases)))


def occupancy(distance: Field, width: float) -> Field:
    """Part of each voxel that lies inside a shape: exact for a plane boundary and a box of ``width`` mm."""
    return np.asarray(np.clip(0.5 - distance / np.float32(width), 0, 1))


def ellipsoid(at: Points, centre: Triple, semi_axes: Triple) -> Field:
    """Signed distance to an ellipsoid, exact on its surface and to first order near it."""
    u = [(c - np.float32(o)) / np.float32(r) for c, o, r in zip((at.x, at.y, at.z), centre, semi_axes, strict=True)]
    scaled = np.sqrt(u[0] ** 2 + u[1] ** 2 + u[2] ** 2)
    slope = np.sqrt(sum((c / np.float32(r)) ** 2 for c, r in zip(u, semi_axes, strict=True))) + np.float32(1e-6)
    return np.asarray(scaled * (scaled - 1) / slope)


def tube(at: Points, path: Sequence[Triple], radii: Sequence[float], blend: float = 2.0) -> Field:
    """Signed distance to a chain of round cones along ``path`` (mm) with the radius given at each node (mm)."""
    total: Field | None = None
    for a, b, ra, rb in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
        axis = np.subtract(b, a).astype(np.float32)
        px, py, pz = at.x - np.float32(a[0]), at.y - np.float32(a[1]), at.z - np.float32(a[2])
        t = np.clip((px * axis[0] + py * axis[1] + pz * axis[2]) / np.float32(axis @ axis), 0, 1)
        gap = np.sqrt((px - t * axis[0]) ** 2 + (py - t * axis[1]) ** 2 + (pz - t * axis[2]) ** 2)
        piece = gap - (np.float32(ra) + t * np.float32(rb - ra))
        total = piece if total is None else smooth_min(total, piece, blend)
    if total is None:
        raise ValueError("a tube needs at least two nodes")
    return total


def smooth_min(a: Field, b: Field, width: float) -> Field:
    """Union of two shapes with the crease between them filled over about ``width`` mm (quadratic polynomial blend)."""
    h = np.maximum(np.float32(width) - np.abs(a - b), 0) / np.float32(width)
    return np.asarray(np.minimum(a, b) - h * h * np.float32(width / 4))


def smooth_max(a: Field, b: Field, width: float) -> Field:
    """Intersection of two shapes with a rounded edge."""
    return -smooth_min(-a, -b, width)


def bounded_sheet(distance: Field, beyond: Field) -> Field:
    """Distance to a bounded part of a sheet from the distance to the sheet and the distance ``beyond`` its rim (mm)."""
    return np.asarray(np.sqrt(distance**2 + np.maximum(beyond, 0) ** 2))


def gradient(values: Field, spacing: Sequence[float]) -> tuple[Field, Field, Field]:
    """Derivatives along (z, y, x) per mm by central differences; zero along an axis of one voxel."""
    steps = []
    for axis, step in enumerate(spacing):
        if values.shape[axis] < 2:
            steps.append(np.zeros_like(values))
        else:
            steps.append(np.gradient(values, np.float32(step), axis=axis).astype(np.float32))
    return steps[0], steps[1], steps[2]


def sheet_distance(values: Field, wave_number: float, spacing: Sequence[float]) -> Field:
    """Distance (mm) to the zero set of an oscillating field.

    For a sine of that wave number (rad / mm) the result is exact everywhere, not only near the zero.
    """
    dz, dy, dx = gradient(values, spacing)
    slope = np.sqrt(dz**2 + dy**2 + dx**2)
    return np.asarray(np.arctan2(np.abs(values) * np.float32(wave_number), slope) / np.float32(wave_number))


def texture(generator: np.random.Generator, shape: Sequence[int], spacing: Sequence[float], length: float) -> Field:
    """Gaussian noise of unit variance on a grid, smoothed to a correlation length in mm (periodic)."""
    noise = np.fft.rfftn(generator.standard_normal(tuple(shape)))
    frequencies = [np.fft.fftfreq(n, d) for n, d in zip(shape[:-1], spacing[:-1], strict=True)]
    frequencies.append(np.fft.rfftfreq(shape[-1], spacing[-1]))
    fz, fy, fx = np.meshgrid(*frequencies, indexing="ij", sparse=True)
    smooth = np.fft.irfftn(
        noise * np.exp(-((np.pi * length) ** 2) * (fz**2 + fy**2 + fx**2) / 2), s=tuple(shape), axes=(0, 1, 2)
    )
    return np.asarray(smooth / max(float(smooth.std()), 1e-12), np.float32)
