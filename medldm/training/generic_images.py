"""Computed images without anatomy: occluding discs, random fields, stripes.

Natural images owe their statistics to occlusion and scale invariance (Lee, Mumford and Huang 2001); a denoiser that has
seen "dead leaves" denoises what it has never seen about as well as a general one does (Achddou, Gousseau and Ladjal
2021).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.float32]


def generic_images(generator: np.random.Generator, count: int, size: int) -> Tensor:
    """Draw images.

    Args:
        generator: of all randomness.
        count: how many.
        size: samples along each axis.

    Returns:
        (count, size, size) float16 in [0, 1].
    """
    makers = (dead_leaves, dead_leaves, random_field, stripes)
    images = [makers[int(generator.integers(len(makers)))](generator, size) for _ in range(count)]
    return torch.from_numpy(np.stack(images)).half()


def dead_leaves(generator: np.random.Generator, size: int) -> Image:
    """Discs that hide one another, radii by an inverse cube law, each of one grey with a little texture."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    image = np.full((size, size), generator.uniform(), dtype=np.float32)
    smallest, largest = 4.0, size / 2
    grain = _noise_of_spectrum(generator, size, float(generator.uniform(0.5, 2.5)))
    for _ in range(int(generator.integers(150, 600))):
        # The inverse of the distribution function of r^-3 between the two bounds.
        u = generator.uniform()
        radius = (smallest**-2 + u * (largest**-2 - smallest**-2)) ** -0.5
        y, x = generator.uniform(-radius, size + radius, 2)
        stretch, angle = generator.uniform(0.4, 1.0), generator.uniform(0, np.pi)
        top, bottom = max(0, int(y - radius)), min(size, int(y + radius) + 2)
        left, right = max(0, int(x - radius)), min(size, int(x + radius) + 2)
        if top >= bottom or left >= right:
            continue
        v, h = rows[top:bottom, left:right] - y, columns[top:bottom, left:right] - x
        along = np.cos(angle) * h + np.sin(angle) * v
        across = (-np.sin(angle) * h + np.cos(angle) * v) / stretch
        # Edges one sample wide, as a scanner's are.
        cover = np.clip(radius - np.sqrt(along**2 + across**2) + 0.5, 0, 1)
        grey = generator.uniform() + generator.uniform(0, 0.1) * grain[top:bottom, left:right]
        part = image[top:bottom, left:right]
        image[top:bottom, left:right] = part + cover * (grey - part)
    return np.clip(image, 0, 1)


def random_field(generator: np.random.Generator, size: int) -> Image:
    """A Gaussian random field with a power-law spectrum, sometimes cut at a threshold."""
    field = _noise_of_spectrum(generator, size, float(generator.uniform(1.0, 4.0)))
    if generator.uniform() < 0.3:
        width = generator.uniform(0.02, 0.3)
        field = np.tanh((field - generator.uniform(-0.7, 0.7)) / width).astype(np.float32)
    low, high = np.sort(generator.uniform(0, 1, 2))
    spread = float(np.ptp(field)) or 1.0
    result: Image = (low + (high - low) * (field - field.min()) / spread).astype(np.float32)
    return result


def stripes(generator: np.random.Generator, size: int) -> Image:
    """Waves of one direction that drift, times a smooth envelope."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    angle, wavelength = generator.uniform(0, np.pi), generator.uniform(4, 32)
    bend = generator.uniform(0, 2) * _noise_of_spectrum(generator, size, 3.5)
    phase = 2 * np.pi * (np.cos(angle) * rows + np.sin(angle) * columns) / wavelength + bend
    envelope = _noise_of_spectrum(generator, size, 3.5)
    image = 0.5 + 0.25 * np.sin(phase) * np.clip(1 + envelope, 0, 2) * generator.uniform(0.2, 1)
    result: Image = np.clip(image, 0, 1).astype(np.float32)
    return result


def _noise_of_spectrum(generator: np.random.Generator, size: int, slope: float) -> Image:
    """Unit-variance noise whose power falls as frequency to the minus ``slope``."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    amplitude = np.maximum(frequency, 1 / size) ** (-slope / 2)
    amplitude[0, 0] = 0
    field = np.fft.irfft2(np.fft.rfft2(generator.standard_normal((size, size))) * amplitude, s=(size, size))
    result: Image = (field / field.std()).astype(np.float32)
    return result
