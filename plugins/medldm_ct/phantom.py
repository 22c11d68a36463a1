"""A phantom whose projections are known in closed form: the truth of the accuracy tests and benchmarks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medldm_ct.geometry import Geometry, ImagePlane

# Isotropic Gaussians: amplitude, x, y, width, the lengths as parts of the phantom's radius.
GAUSSIANS = ((1.0, 0.30, 0.10, 0.12), (0.7, -0.25, 0.35, 0.08), (0.5, -0.10, -0.45, 0.15), (0.4, 0.45, -0.30, 0.06))
_SAMPLES = 8


def gaussian_image(plane: ImagePlane, radius: float) -> Tensor:
    """Four smooth blobs within ``radius`` mm, averaged over each pixel: ``(y, x)`` float64, amplitudes in 1/mm."""
    fine = plane.finer(_SAMPLES)
    (ny, nx), (dy, dx) = fine.shape, fine.spacing
    y = (torch.arange(ny, dtype=torch.float64) - (ny - 1) / 2) * dy / radius
    x = (torch.arange(nx, dtype=torch.float64) - (nx - 1) / 2) * dx / radius
    image = torch.zeros(plane.shape, dtype=torch.float64)
    for amplitude, x0, y0, width in GAUSSIANS:
        rows = torch.exp(-((y - y0) ** 2) / (2 * width**2)).view(-1, _SAMPLES).mean(1)
        columns = torch.exp(-((x - x0) ** 2) / (2 * width**2)).view(-1, _SAMPLES).mean(1)
        image += amplitude * rows[:, None] * columns
    return image


def gaussian_sinogram(geometry: Geometry, radius: float) -> Tensor:
    """The line integrals of the same blobs, averaged over each detector bin: ``(view, bin)`` float64."""
    edges = geometry.edges()
    total = torch.zeros(geometry.views, geometry.bins, dtype=torch.float64)
    for i in range(_SAMPLES):
        theta, s = geometry.lines(edges[:-1] + (i + 0.5) / _SAMPLES * geometry.pitch)
        cos, sin = theta.cos(), theta.sin()
        for amplitude, x0, y0, width in GAUSSIANS:
            distance = s / radius - (x0 * cos + y0 * sin)
            peak = amplitude * width * radius * math.sqrt(2 * math.pi)
            total += peak * torch.exp(-(distance**2) / (2 * width**2))
    return total / _SAMPLES


def relative_error(estimate: Tensor, truth: Tensor) -> float:
    """``|estimate - truth| / |truth|`` in float64."""
    return float((estimate.double() - truth.double()).norm() / truth.double().norm())
