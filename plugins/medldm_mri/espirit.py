"""Coil maps from the calibration lines: ESPIRiT (Uecker et al. 2014, doi:10.1002/mrm.24751).

Neighbouring samples of multi-coil k-space obey linear relations. Projecting every neighbourhood onto the space that
they span is a convolution W, in the image a coil by coil matrix G_q at each pixel q, and the coil map at q is the
eigenvector of G_q with eigenvalue 1.

Three facts make it fast. G is a trigonometric polynomial with (2k - 1)^2 coefficients, so it is evaluated wherever it
is wanted; coil maps are smooth, so it is wanted on a coarse grid only; and repeated squaring, G^64 in six products,
separates the first eigenvector for all pixels at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medldm_mri.interpolation import cubic_matrix, upsample
from medldm_mri.root_sum_of_squares import root_sum_of_squares

PAPER = (
    "M. Uecker, P. Lai, M. J. Murphy, P. Virtue, M. Elad, J. M. Pauly, S. S. Vasanawala, M. Lustig. ESPIRiT - an "
    "eigenvalue approach to autocalibrating parallel MRI: where SENSE meets GRAPPA. Magnetic Resonance in Medicine "
    "71(3), 990-1001, 2014."
)

_SQUARINGS = 6
# Points of the coarse grid along each axis.
COARSE_POINTS = 64


@dataclass(frozen=True)
class Espirit:
    """Settings of the estimate.

    Attributes:
        kernel: size k of the neighbourhood in samples; less along an axis with fewer than 2 (k - 1) calibration lines.
        threshold: singular values of the calibration matrix below this fraction of the largest are noise.
        crop: maps are zero where the eigenvalue is below it: there no signal was seen.

    A lower threshold keeps maps further out into the air; a higher one with few calibration lines loses maps inside the
    object, which no solver can make good. Both values are a compromise between 4 and 8 times undersampling, chosen on
    training scans by ``benchmarks/tune_espirit.py``.
    """

    kernel: int = 6
    threshold: float = 0.01
    crop: float = 0.7

    def maps(self, calibration: Tensor, shape: tuple[int, int]) -> Tensor:
        """Coil maps (z, coil, y, x): sum of squares 1 where signal was seen, 0 elsewhere.

        A map is defined up to a phase per pixel. The phase is chosen so that one combination of the coils, the first
        principal component of the whole stack, has a real positive sensitivity: neighbouring pixels and slices agree.

        Args:
            calibration: the fully sampled centre of k-space (z, coil, ky, kx), frequency zero at index ``n // 2``.
            shape: of the image (y, x).
        """
        reference = principal_combination(calibration)
        points = [torch.linspace(0, n - 1, min(n, COARSE_POINTS), dtype=torch.float64) for n in shape]
        along_y, along_x = (
            cubic_matrix(len(p), n, dtype=calibration.real.dtype).to(calibration.device)
            for p, n in zip(points, shape, strict=True)
        )
        turns_y, turns_x = ((p - n // 2) / n for p, n in zip(points, shape, strict=True))
        maps = calibration.new_empty((*calibration.shape[:2], *shape))
        for z, data in enumerate(calibration):
            gram = evaluate(convolution(data, self.kernel, self.threshold), turns_y, turns_x)
            vectors, values = first_eigenvectors(gram, reference)
            smooth = upsample(vectors.permute(2, 0, 1), along_y, along_x)
            seen = upsample(values, along_y, along_x) > self.crop
            if not bool(seen.any()):
                # Nothing was seen in this slice. Without maps its pixels would be free of any data, so it gets those of
                # one combination of the coils, which say that there is nothing.
                smooth, seen = reference[:, None, None].expand_as(smooth), torch.ones_like(seen)
            torch.mul(smooth, seen / root_sum_of_squares(smooth).clamp(min=1e-12), out=maps[z])
        return maps


def principal_combination(calibration: Tensor) -> Tensor:
    """First principal component of the coils (coil,), norm 1, over a whole stack (z, coil, ky, kx)."""
    signals = calibration.transpose(0, 1).flatten(1)
    vectors = torch.linalg.eigh(signals @ signals.mH)[1]
    first = vectors[:, -1]
    # An eigenvector has no phase of its own; its largest entry is made positive.
    largest = first[first.abs().argmax()]
    combination: Tensor = first * (largest.conj() / largest.abs())
    return combination


def convolution(data: Tensor, kernel: int, threshold: float) -> Tensor:
    """Coefficients (coil, coil, 2k - 1, 2k - 1) of the averaged projection onto the signal space, one slice.

    Args:
        data: calibration k-space (coil, ky, kx).
        kernel: size of the neighbourhood, see :class:`Espirit`.
        threshold: of the singular values, see :class:`Espirit`.
    """
    coils = data.shape[0]
    size = [min(kernel, n // 2 + 1) for n in data.shape[1:]]
    patches = data.unfold(1, size[0], 1).unfold(2, size[1], 1)
    rows = patches.permute(1, 2, 0, 3, 4).reshape(-1, coils * size[0] * size[1])
    energies, vectors = torch.linalg.eigh(rows.mT @ rows.conj())
    signal = vectors[:, energies > threshold**2 * energies[-1]]
    projection = (signal @ signal.mH).reshape(coils, *size, coils, *size).permute(0, 3, 1, 4, 2, 5)
    # Entries with the same displacement between output and input sample are one coefficient.
    (dy, my), (dx, mx) = (_displacements(n, data.device) for n in size)
    index = (dy[:, :, None, None] * mx + dx).flatten()
    coefficients = data.new_zeros((coils * coils, my * mx))
    coefficients.index_add_(1, index, projection.reshape(coils * coils, -1))
    return coefficients.reshape(coils, coils, my, mx) / (size[0] * size[1])


def evaluate(coefficients: Tensor, turns_y: Tensor, turns_x: Tensor) -> Tensor:
    """The matrices G (y, x, coil, coil) at the given places.

    Args:
        coefficients: of :func:`convolution`.
        turns_y: places as fractions of the field of view from its centre, -0.5 ... 0.5.
        turns_x: the same along x.
    """
    waves = []
    for axis, turns in ((2, turns_y), (3, turns_x)):
        n = coefficients.shape[axis]
        angle = -2 * math.pi * turns[:, None] * (torch.arange(n) - n // 2)
        waves.append(torch.polar(torch.ones_like(angle), angle).to(coefficients))
    along_x = torch.einsum("cdnm,xm->cdnx", coefficients, waves[1])
    return torch.einsum("cdnx,yn->yxcd", along_x, waves[0]).contiguous()


def first_eigenvectors(gram: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors (y, x, coil) of the largest eigenvalues (y, x) of Hermitian matrices (y, x, coil, coil).

    The vectors have norm 1 and a real positive product with ``reference`` (coil,).
    """
    power = gram
    for _ in range(_SQUARINGS):
        power = power @ power
        power = power / power.diagonal(dim1=-2, dim2=-1).sum(-1).real.clamp(min=1e-20)[..., None, None]
    vectors = power @ reference
    vectors = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp(min=1e-20)
    values = (vectors.conj() * (gram @ vectors[..., None])[..., 0]).sum(-1).real
    return vectors, values


def _displacements(n: int, device: torch.device) -> tuple[Tensor, int]:
    """Index (output, input) of the displacement, and how many there are."""
    place = torch.arange(n, device=device)
    return place - place[:, None] + n - 1, 2 * n - 1
