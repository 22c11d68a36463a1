"""Changes of a training patch that leave it a possible image.

Geometry first (mirror, turn, resample, blur), of values in any range; then intensities, of values in the unit range,
where air is 0. Changing the contrast of MR makes the patch one of no named contrast; the caller then tells the network
none.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medldm.training.config import AugmentationOptions


def mirrored(patch: Tensor, generator: np.random.Generator) -> Tensor:
    """Axes mirrored at random; (channel, *spatial).

    Slices of any orientation come before a denoiser, so both axes are, and the order of a slab's slices. Volumes come
    before it in one pose: only left and right change places.
    """
    may = (3,) if patch.ndim == 4 else (0, 1, 2)
    axes = [axis for axis in may if patch.shape[axis] > 1 and generator.uniform() < 0.5]
    return patch.flip(axes) if axes else patch


def turned(patch: Tensor, generator: np.random.Generator) -> Tensor:
    """By a multiple of 90 degrees in the last two axes, which are of equal length."""
    return torch.rot90(patch, int(generator.integers(1, 4)), dims=(-2, -1))


def resample_matrix(options: AugmentationOptions, generator: np.random.Generator) -> Tensor:
    """(2, 2), output to input samples: rotation and zoom, within their limits."""
    angle = math.radians(generator.uniform(-options.degrees, options.degrees))
    zoom = math.exp(generator.uniform(-1, 1) * math.log(options.zoom))
    stretch = math.exp(generator.uniform(-1, 1) * math.log(1.1))
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return rotation @ torch.diag(torch.tensor([zoom * stretch, zoom / stretch]))


def resampled(region: Tensor, matrix: Tensor, size: int) -> Tensor:
    """The central ``size`` x ``size`` samples of a region seen through a matrix, by cubic interpolation.

    Args:
        region: (channel, n, n), larger than the patch by what the matrix reaches for.
        matrix: (2, 2) of (row, column).
        size: of the patch.
    """
    n = region.shape[-1]
    offsets = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    rows, columns = torch.meshgrid(offsets, offsets, indexing="ij")
    at_row = matrix[0, 0] * rows + matrix[0, 1] * columns
    at_column = matrix[1, 0] * rows + matrix[1, 1] * columns
    # Centre of the region is 0, its outer edges are -1 and 1.
    grid = torch.stack((at_column, at_row), -1) * (2 / n)
    sampled: Tensor = functional.grid_sample(
        region[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False
    )
    return sampled[0]


def blurred(patch: Tensor, generator: np.random.Generator) -> Tensor:
    """By a Gaussian of 0.4 to 1.5 samples along the last two axes."""
    std = generator.uniform(0.4, 1.5)
    radius = math.ceil(3 * std)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / std) ** 2)
    taps = taps / taps.sum()
    flat = patch.reshape(-1, 1, *patch.shape[-2:])
    flat = functional.pad(flat, (radius,) * 4, mode="replicate")
    flat = functional.conv2d(functional.conv2d(flat, taps[None, None, :, None]), taps[None, None, None, :])
    return flat.reshape(patch.shape)


def with_other_contrast(
    patch: Tensor, options: AugmentationOptions, generator: np.random.Generator
) -> tuple[Tensor, bool]:
    """MR: gamma, a random curve, or inversion within the object. Returns the patch and whether it is changed."""
    changed = False
    if generator.uniform() < options.gamma:
        patch = patch.clamp(min=0) ** math.exp(generator.uniform(math.log(0.6), math.log(1.6)))
    if generator.uniform() < options.curve:
        patch, changed = _remapped(patch, generator), True
    if generator.uniform() < options.invert:
        # Faint values fade in, so that air stays dark.
        inside = (patch / 0.1).clamp(0, 1)
        patch, changed = inside * (1.05 - patch).clamp(min=0), True
    return patch, changed


def _remapped(patch: Tensor, generator: np.random.Generator) -> Tensor:
    """Piecewise linear curve through five random heights; zero stays zero and beyond 1 it goes on level."""
    knots = torch.linspace(0, 1, 6)
    heights = torch.tensor([0.0, *generator.uniform(0.05, 1.0, 5)], dtype=torch.float32)
    index = torch.bucketize(patch.clamp(0, 1).contiguous(), knots[1:-1])
    slope = (heights[1:] - heights[:-1]) / (knots[1:] - knots[:-1])
    return heights[index] + slope[index] * (patch.clamp(0, 1) - knots[index])


def with_bias_field(patch: Tensor, generator: np.random.Generator) -> Tensor:
    """Times a smooth positive field, as a coil's sensitivity is: three values along each axis, interpolated."""
    nodes = torch.from_numpy(generator.uniform(-0.4, 0.4, (1, 1, *(3,) * (patch.ndim - 1)))).float()
    mode = "bicubic" if patch.ndim == 3 else "trilinear"
    field = functional.interpolate(nodes, size=patch.shape[1:], mode=mode, align_corners=True)
    return patch * field[0].exp()


def with_rim(patch: Tensor, generator: np.random.Generator) -> Tensor:
    """A bright band outside the object, separated by a dark one, as scalp and skull are.

    Distances to the object come from dilations, so a patch without object or without outside stays as it is.
    """
    inside = (patch[:1, ...] > 0.06).float()
    gap, width = int(generator.integers(2, 8)), int(generator.integers(2, 9))
    near = _dilated(inside, gap)
    band = _dilated(near, width) - near
    level = float(generator.uniform(0.4, 1.2))
    ripple = torch.from_numpy(generator.normal(0, 0.05, tuple(patch.shape))).float()
    return patch + band * (level + ripple).clamp(min=0)


def _dilated(mask: Tensor, radius: int) -> Tensor:
    pool = functional.max_pool2d if mask.ndim == 3 else functional.max_pool3d
    grown: Tensor = pool(mask[None], 2 * radius + 1, stride=1, padding=radius)[0]
    return grown


def with_background(patch: Tensor, generator: np.random.Generator) -> Tensor:
    """Magnitude noise ``sqrt((x + n)^2 + n'^2)`` where there is no signal, weak enough to stay a feature of the air."""
    std = math.exp(generator.uniform(math.log(0.004), math.log(0.03)))
    noise = torch.from_numpy(generator.normal(0, std, (2, *patch.shape)).astype(np.float32))
    outside = 1 - (patch / 0.08).clamp(0, 1)
    return patch + outside * (((patch + noise[0]) ** 2 + noise[1] ** 2).sqrt() - patch)
