"""The two phantoms of the classical targets, with measurements that the reconstruction's operator did not make.

CT: the modified Shepp-Logan phantom (Toft 1996), pixel averages as the truth, its sinogram from the closed form
averaged over each detector bin. MR: a complex brain-like slice seen by eight smooth coils, Cartesian lines with a
calibration block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Amplitude, half axes, centre (unit disc, y up), turn in degrees.
SHEPP_LOGAN = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.8740, 0.0, -0.0184, 0.0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
)
BIN_SAMPLES = 8
PIXEL_SAMPLES = 8

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TomographyTarget:
    """Image ``(1, n, n)`` with pixels of 1 mm, sinogram ``(1, view, bin)``, view angles in radians, noise std."""

    truth: Tensor
    sinogram: Tensor
    angles: tuple[float, ...]
    std: float


@dataclass(frozen=True, eq=False)
class ResonanceTarget:
    """Image ``(1, n, n)``, coil maps ``(1, coil, n, n)``, mask ``(n, n)``, masked k-space, noise std per component."""

    truth: Tensor
    maps: Tensor
    mask: Tensor
    kspace: Tensor
    std: float


def ellipse(x: Array, y: Array, a: float, b: float, x0: float = 0.0, y0: float = 0.0, turn: float = 0.0) -> Array:
    """Squared elliptical radius: below one inside."""
    phi = math.radians(turn)
    along = (x - x0) * math.cos(phi) + (y - y0) * math.sin(phi)
    across = (y - y0) * math.cos(phi) - (x - x0) * math.sin(phi)
    return np.asarray((along / a) ** 2 + (across / b) ** 2)


def shepp_logan(n: int = 256, views: int = 60, bins: int = 363, noise: float = 0.01) -> TomographyTarget:
    """The CT target: parallel views over pi, bins of one pixel, noise of ``noise`` times the rms of the sinogram."""
    c = ((np.arange(n * PIXEL_SAMPLES) + 0.5) / PIXEL_SAMPLES - n / 2) / (n / 2)
    x, y = np.meshgrid(c, -c)
    image = np.zeros_like(x, dtype=np.float32)
    for amplitude, a, b, x0, y0, turn in SHEPP_LOGAN:
        image += np.float32(amplitude) * (ellipse(x, y, a, b, x0, y0, turn) <= 1)
    truth = image.reshape(n, PIXEL_SAMPLES, n, PIXEL_SAMPLES).mean((1, 3))

    # Rows of the image run downwards, against the y of the phantom: the angle of a view turns the other way.
    angles = np.arange(views) * math.pi / views
    fine = (np.arange(bins * BIN_SAMPLES) + 0.5) / BIN_SAMPLES - bins / 2
    fine_sinogram = _line_integrals(-angles, fine / (n / 2)) * (n / 2)
    sinogram = fine_sinogram.reshape(views, bins, BIN_SAMPLES).mean(-1)
    std = noise * math.sqrt(float((sinogram**2).mean()))
    noisy = sinogram + std * np.random.default_rng(1).standard_normal(sinogram.shape)
    return TomographyTarget(
        torch.from_numpy(truth)[None], torch.from_numpy(noisy.astype(np.float32))[None], tuple(angles.tolist()), std
    )


def _line_integrals(angles: Array, s: Array) -> Array:
    """Chords of the ellipses along ``x cos t + y sin t = s``, ``(view, s)``."""
    t, total = angles[:, None], np.zeros((len(angles), len(s)))
    for amplitude, a, b, x0, y0, turn in SHEPP_LOGAN:
        phi = math.radians(turn)
        squared = (a * np.cos(t - phi)) ** 2 + (b * np.sin(t - phi)) ** 2
        u = s[None] - (x0 * np.cos(t) + y0 * np.sin(t))
        total += amplitude * 2 * a * b * np.sqrt(np.maximum(squared - u**2, 0)) / squared
    return total


def brain(acceleration: int, n: int = 320, coils: int = 8) -> ResonanceTarget:
    """The MR target: equispaced lines and 24 (4x) or 12 (8x) calibration lines, noise 2 % of the mean signal.

    Args:
        acceleration: 4 or 8.
        n: pixels of each side.
        coils: on a circle around the head.
    """
    rng = np.random.default_rng(0)
    magnitude = _brain_magnitude(n)
    frequency = np.fft.fftfreq(n)
    envelope = np.exp(-600 * (frequency[:, None] ** 2 + frequency**2))
    texture = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, n))) * envelope).real
    magnitude = magnitude * (1 + 0.03 * texture / texture.std())

    c = (np.arange(n) - n / 2) / (n / 2)
    x, y = np.meshgrid(c, c)
    truth = magnitude * np.exp(1j * (0.6 * x - 0.4 * y + 0.8 * x * y + 0.5 * x * x))
    positions = 2 * math.pi * np.arange(coils) / coils
    maps = np.stack([_coil(x, y, t) for t in positions])
    maps = maps / np.sqrt((np.abs(maps) ** 2).sum(0))

    axes = (-2, -1)
    shifted = np.fft.ifftshift(maps * truth, axes=axes)
    kspace = np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=axes)
    inside = np.abs(truth) > 0.1
    std = 0.02 * math.sqrt(float((np.abs(truth[inside]) ** 2).mean())) / math.sqrt(2)
    kspace = kspace + std * (rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape))

    mask = _lines(n, acceleration)
    return ResonanceTarget(
        torch.from_numpy(truth.astype(np.complex64))[None],
        torch.from_numpy(maps.astype(np.complex64))[None],
        torch.from_numpy(mask),
        torch.from_numpy((kspace * mask).astype(np.complex64))[None],
        std,
    )


def _brain_magnitude(n: int) -> Array:
    """Scalp, skull, fluid, folded grey and white matter, ventricles, nuclei and small lesions, pixel averages."""
    fine = 4
    c = ((np.arange(n * fine) + 0.5) / fine - n / 2) / (n / 2)
    x, y = np.meshgrid(c, -c)
    angle = np.arctan2(y, x)
    fold = 0.03 * np.sin(14 * angle) + 0.02 * np.sin(23 * angle + 1) + 0.015 * np.sin(37 * angle + 2)
    image = np.zeros_like(x)
    image[ellipse(x, y, 0.72, 0.92) < 1] = 0.95
    image[ellipse(x, y, 0.68, 0.88) < 1] = 0.08
    radius = np.sqrt(ellipse(x, y, 0.64, 0.84))
    image[radius < 1] = 0.25
    image[radius + fold < 0.96] = 0.62
    image[radius + 2.2 * fold < 0.78] = 0.85
    for side in (-1, 1):
        image[ellipse(x, y, 0.07, 0.24, side * 0.12, 0.08, side * 12) < 1] = 0.22
        image[ellipse(x, y, 0.09, 0.13, side * 0.26, -0.06, side * -20) < 1] = 0.66
        image[ellipse(x, y, 0.06, 0.09, side * 0.14, -0.16) < 1] = 0.7
        image[ellipse(x, y, 0.16, 0.1, side * 0.3, -0.55, side * 15) < 1] = 0.6
    fissure = np.abs(x) < 0.008
    image[fissure] *= np.where(radius[fissure] < 0.9, 0.6, 1)
    image[ellipse(x, y, 0.03, 0.02, 0.3, 0.35) < 1] = 1.0
    image[ellipse(x, y, 0.012, 0.012, -0.35, 0.3) < 1] = 1.0
    image[ellipse(x, y, 0.02, 0.05, -0.2, -0.35, 30) < 1] = 0.45
    for i in range(12):
        r = 0.006 + 0.002 * (i % 3)
        image[ellipse(x, y, r, r, 0.5 * math.cos(0.52 * i), 0.62 * math.sin(0.52 * i)) < 1] = 0.4
    return np.asarray(image.reshape(n, fine, n, fine).mean((1, 3)))


def _coil(x: Array, y: Array, t: float) -> NDArray[np.complex128]:
    distance = (x - 1.1 * math.cos(t)) ** 2 + (y - 1.1 * math.sin(t)) ** 2
    return np.asarray(np.exp(-distance / 1.2 + 1j * (t + x * math.sin(t) - y * math.cos(t))))


def _lines(n: int, acceleration: int) -> NDArray[np.float32]:
    """Calibration block and equispaced lines, ``n / acceleration`` in all."""
    calibration = {4: 24, 8: 12}[acceleration]
    sampled = np.zeros(n, np.float32)
    sampled[n // 2 - calibration // 2 : n // 2 + calibration // 2] = 1
    wanted = n // acceleration - calibration
    step = (n - calibration) / wanted
    free = np.flatnonzero(sampled == 0)
    sampled[free[[int(j * step + step / 2) for j in range(wanted)]]] = 1
    return np.broadcast_to(sampled, (n, n)).astype(np.float32)
