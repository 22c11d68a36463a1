"""Noise of k-space: whitened by a noise scan, or estimated from the samples furthest from the centre."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem

# Of the sampled points, those furthest out; fewer than this are no basis for an estimate.
_OUTER, _LEAST = 0.1, 32
# Noise samples per coil: the covariance of n coils has n^2 real numbers, each to be known to some 10 %.
_PER_COIL = 16


@dataclass(frozen=True, eq=False)
class NoiseScan:
    """Samples taken while nothing was excited.

    Attributes:
        samples: (coil, sample), complex.
        variance_ratio: variance of a sample of the image over that of a sample of this scan (other bandwidth).
    """

    samples: NDArray[np.complex64]
    variance_ratio: float = 1.0

    def of_coils(self, which: NDArray[np.bool_]) -> NoiseScan:
        """Of some coils alone."""
        return NoiseScan(self.samples[which], self.variance_ratio)

    def whitener(self) -> NDArray[np.complex64]:
        """(coil, coil); the coils it makes have independent noise with a standard deviation of 1 per real component.

        Raises:
            InputRefused: E-KSP-16 when there are too few samples, or two coils are one.
        """
        coils, count = self.samples.shape
        wide = self.samples.astype(np.complex128)
        fault = f"it has {count} samples of {coils} coils" if count < _PER_COIL * coils else ""
        if not fault and not np.isfinite(wide).all():
            fault = "it has samples that are NaN or infinite"
        if not fault:
            # Half of the complex covariance is that of a real component.
            covariance = wide @ wide.conj().T / (2 * count) * self.variance_ratio
            spread = np.linalg.eigvalsh(covariance)
            if spread[0] > 1e-10 * spread[-1]:
                return np.linalg.inv(np.linalg.cholesky(covariance)).astype(np.complex64)
            fault = "its covariance is singular: a coil is silent or repeats others"
        raise InputRefused(
            "E-KSP-16",
            f"The noise scan cannot be used: {fault}.",
            why="The noise of the coils, and how it hangs together, is measured by it.",
            fix="Remove the noise scan, so that the noise is estimated from the image's own samples.",
        )


def whitened(kspace: NDArray[np.complex64], whitener: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """k-space (z, coil, ...) of the coils that the whitener makes."""
    result = np.empty_like(kspace)
    for z, plane in enumerate(kspace):
        result[z] = np.tensordot(whitener, plane, axes=1)
    return result


def outer_noise(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], radius: NDArray[np.float64] | None = None
) -> float | None:
    """Standard deviation per real component, from the tenth of the samples furthest from frequency zero.

    The power of each coil there is taken as its median over ln 2, which is its mean where it is noise alone; the coils'
    powers are averaged. What the object still has out there makes the result too large, never too small; a filter
    that darkens the edge of k-space makes it too small.

    Args:
        kspace: (z, coil, ky, kx) or (1, coil, kz, ky, kx), centred; or (z, coil, shot, sample).
        mask: of its last axes, where it was sampled.
        radius: of the samples, for those that are on no Cartesian grid.

    Returns:
        None when there are too few samples.
    """
    distance = _squared_radius(mask.shape) if radius is None else radius
    points = np.flatnonzero(mask)
    points = points[np.argsort(distance.reshape(-1)[points], kind="stable")]
    outer = points[len(points) - round(_OUTER * len(points)) :]
    if len(outer) * len(kspace) < _LEAST:
        return None
    slices, coils = kspace.shape[:2]
    values = kspace.reshape(slices, coils, -1)[..., outer]
    power = values.real.astype(np.float64) ** 2 + values.imag.astype(np.float64) ** 2
    mean_power = np.median(power, axis=(0, 2)) / math.log(2)
    return float(np.sqrt(mean_power.mean() / 2)) or None


def _squared_radius(shape: tuple[int, ...]) -> NDArray[np.floating]:
    """Squared distance from frequency zero on a Cartesian grid, 1 at the end of each axis."""
    squared = np.zeros(shape, dtype=np.float32)
    for axis, n in enumerate(shape):
        along = ((np.arange(n) - n // 2) / (n / 2)).astype(np.float32) ** 2
        squared += along.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return squared


def with_known_noise(
    kspace: NDArray[np.complex64],
    mask: NDArray[np.bool_],
    noise: NoiseScan | float | None,
    averages: int,
    radius: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.complex64], float | None, str, tuple[Problem, ...]]:
    """k-space, the standard deviation of its noise per real component, how that is known, and what to say of it.

    Args:
        kspace: see :func:`outer_noise`, as mask and radius.
        mask: where it was sampled.
        noise: a noise scan, by which the coils are whitened; the standard deviation; or None, which estimates it.
        averages: measurements that each sample is the mean of; the noise scan had one.
        radius: of the samples.
    """
    if isinstance(noise, NoiseScan):
        return whitened(kspace, noise.whitener()), 1 / averages**0.5, "noise scan", ()
    if noise is not None:
        return kspace, float(noise), "stated", ()
    std = outer_noise(kspace, mask, radius)
    return kspace, std, "not known" if std is None else "estimated", (_estimated(std),)


def _estimated(std: float | None) -> Problem:
    """What to say of noise that was estimated, or could not be."""
    if std is None:
        return Problem(
            "E-KSP-20",
            "warning",
            "There is no noise scan, and too few samples to estimate the noise from.",
            "Give it to the recipe: likelihood.std.",
        )
    return Problem(
        "E-KSP-20",
        "warning",
        f"There is no noise scan; the noise, {std:.3g} per real component, is estimated from the tenth of the samples "
        "furthest from the centre of k-space, and is too large where the object is still seen there.",
        "Give it to the recipe if you know it: likelihood.std.",
    )
