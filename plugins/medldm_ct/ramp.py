"""The ramp filter of filtered back-projection and its windows."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm_ct.geometry import FanBeam, Geometry

Window = Literal["ram-lak", "shepp-logan", "cosine", "hamming", "hann"]


def ramp_response(geometry: Geometry, window: str) -> Tensor:
    """Frequency response of the windowed ramp along the bins, for real FFTs of length :func:`padded_length`.

    The band-limited kernel of Kak and Slaney (1988, equation 3.61) is sampled in space, so that the mean of an image
    is kept: a ramp sampled in frequency loses it. On a curved detector the kernel is that of equiangular rays
    (equation 3.119), without its factor 1/2, which is a matter of redundancy.

    Args:
        geometry: of the scan.
        window: name of the window over the ramp.

    Returns:
        (length // 2 + 1,) float64, real; includes the sampling distance at the axis of rotation, in 1/mm, on a curved
        detector the angle between bins, in 1/rad.
    """
    if window not in get_args(Window):
        raise UsageError(
            "E-CT-11",
            f"There is no ramp window {window!r}.",
            fix=f"Choose one of {', '.join(get_args(Window))}.",
        )
    length, pitch = padded_length(geometry.bins), geometry.pitch
    curved = isinstance(geometry, FanBeam) and geometry.curved
    if isinstance(geometry, FanBeam):
        pitch *= 1 / geometry.source_to_detector if curved else geometry.source_to_centre / geometry.source_to_detector
    n = torch.arange(length // 2 + 1, dtype=torch.float64)
    sampled = n * pitch
    kernel = torch.where(n % 2 == 1, -1 / (math.pi * sampled.clamp(min=pitch)) ** 2, 0.0)
    if curved:
        # Beyond the widest difference of fan angles the kernel meets only padding.
        used = n < geometry.bins
        sine = torch.where(used & (n > 0), sampled.sin(), 1.0)
        kernel = torch.where(used, kernel * torch.where(n > 0, (sampled / sine) ** 2, 1.0), 0.0)
    kernel[0] = 1 / (4 * pitch**2)
    periodic = torch.cat([kernel, kernel[1:-1].flip(0)])
    response: Tensor = torch.fft.rfft(periodic).real * pitch * _window(window, len(n))
    return response


def padded_length(bins: int) -> int:
    """FFT length at which the filter's ends do not meet: a power of two of at least twice the bins."""
    return int(max(64, 2 ** math.ceil(math.log2(2 * bins))))


def _window(name: str, size: int) -> Tensor:
    f = torch.linspace(0, 1, size, dtype=torch.float64)
    if name == "shepp-logan":
        return torch.sinc(f / 2)
    if name == "cosine":
        return (math.pi / 2 * f).cos()
    if name == "hamming":
        return 0.54 + 0.46 * (math.pi * f).cos()
    if name == "hann":
        return 0.5 + 0.5 * (math.pi * f).cos()
    return torch.ones_like(f)
