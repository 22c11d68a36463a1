"""Does the error flicker from slice to slice?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from medldm.data import Volume
from medldm_metrics.window import pair

_PAPER = (
    "P. D. Welch. The use of fast Fourier transform for the estimation of power spectra. IEEE Transactions on Audio "
    "and Electroacoustics 15(2), 70-73, 1967."
)
# The upper half of the frequencies that samples can carry, in cycles per sample.
LOW, HIGH = 0.25, 0.5
_SHORTEST = 4


def band_power(error: Tensor, axis: int) -> float | None:
    """Mean square of the part of an error (z, y, x) that lies between 0.25 and 0.5 cycles per sample along an axis.

    By the discrete Fourier transform under a Hann window (Welch 1967), since a volume is not periodic. White noise of
    variance v has v / 2 along each axis.

    Returns:
        in squared units of the error; None along an axis of fewer than four samples.
    """
    n = error.shape[axis]
    if n < _SHORTEST:
        return None
    window = torch.hann_window(n + 2, periodic=False, dtype=torch.float64, device=error.device)[1:-1]
    window = window / window.square().mean().sqrt()
    frequency = torch.fft.fftfreq(n, dtype=torch.float64, device=error.device).abs()
    # The end of the band counts half, so that white noise has the same share at any even or odd length.
    share = (frequency > LOW).double() + 0.5 * (frequency == LOW).double()
    share = share * (0.5 * n / share.sum())
    total = 0.0
    # One plane that holds the axis at a time, to bound the memory.
    other = 1 if axis == 0 else 0
    for plane in error.movedim(other, 0).unbind(0):
        lines = plane.movedim(axis - (axis > other), -1)
        lines = lines.to(torch.complex128 if lines.is_complex() else torch.float64)
        total += float((torch.fft.fft(lines * window).abs().square() * share).sum())
    return total / (n * error.numel())


@dataclass(frozen=True)
class ZNoise:
    """The error's part between 0.25 and 0.5 cycles per slice along the tensor's slice axis.

    Flicker lives there. ``z_noise_ratio`` holds its power against that of the same band (in cycles per pixel) within
    the slices, the mean of both axes: slices reconstructed each for itself with noise of their own give more than an
    image whose error is equally fine in all directions, 1; slices smeared into each other give less.
    """

    references: ClassVar[tuple[str, ...]] = (_PAPER,)

    def __call__(self, estimate: Volume, truth: Volume) -> dict[str, float]:
        """``z_noise``, root mean square over the metrics' range, and ``z_noise_ratio``.

        Absent for fewer than four slices; the ratio also where the error has no part in the band within slices.
        """
        images = pair(estimate, truth)
        # Outside the field of view both are air, so that nothing of it enters.
        error = images.estimate - images.truth
        along = band_power(error, 0)
        if along is None:
            return {}
        values = {"z_noise": math.sqrt(along) / images.data_range}
        within = [power for axis in (1, 2) if (power := band_power(error, axis)) is not None]
        if within and sum(within) > 0:
            values["z_noise_ratio"] = along / (sum(within) / len(within))
        return values
