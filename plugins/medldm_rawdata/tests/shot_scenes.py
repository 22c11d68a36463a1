"""A known object measured along spokes and spirals by the Fourier sum itself, and what is told of it."""

from __future__ import annotations

import numpy as np

NZ, NY, NX = 2, 20, 16
SPACING = (6.0, 1.5, 1.5)
_GOLDEN = np.pi * (np.sqrt(5) - 1) / 2


def scene() -> np.ndarray:
    """Blocks (z, y, x) that no flip or turn leaves in place."""
    image = np.zeros((NZ, NY, NX))
    image[0, 4:9, 2:12] = 1.0
    image[0, 10:17, 2:5] = 2.0
    image[1, 12:14, 9:14] = 3.0
    return image


def spokes(shots: int = 40, samples: int = 40) -> np.ndarray:
    """(shot, sample, 2), ky and kx in cycles per voxel, -0.5 ... 0.5 with a sample in the centre."""
    angle = np.arange(shots) * _GOLDEN
    place = (np.arange(samples) - samples // 2) / samples
    return np.stack([np.outer(np.sin(angle), place), np.outer(np.cos(angle), place)], axis=-1)


def spirals(arms: int = 8, turns: float = 2.0, samples: int = 200) -> np.ndarray:
    """(shot, sample, 2), ky and kx in cycles per voxel, from the centre outwards."""
    part = np.linspace(0, 1, samples) ** 0.5
    angle = 2 * np.pi * (turns * part + np.arange(arms)[:, None] / arms)
    return 0.5 * np.stack([part * np.sin(angle), part * np.cos(angle)], axis=-1)


def measured(image: np.ndarray, cycles: np.ndarray, noise: float = 0.001, seed: int = 1) -> np.ndarray:
    """k-space (z, coil, shot, sample) of one coil, orthonormal scale, centre of the image at voxel ``n // 2``."""
    ny, nx = image.shape[1:]
    ky, kx = cycles.reshape(-1, 2).T
    along_y = np.exp(-2j * np.pi * np.outer(ky, np.arange(ny) - ny // 2))
    along_x = np.exp(-2j * np.pi * np.outer(kx, np.arange(nx) - nx // 2))
    samples = np.einsum("zyx,sy,sx->zs", image, along_y, along_x, optimize=True) / np.sqrt(ny * nx)
    random = np.random.default_rng(seed)
    samples = samples + noise * (random.standard_normal(samples.shape) + 1j * random.standard_normal(samples.shape))
    return samples.reshape(len(image), 1, *cycles.shape[:2]).astype(np.complex64)
