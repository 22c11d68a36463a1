"""``A^H A`` of a non-uniform transform without its samples: a convolution with the point spread function.

    (F^H F x)_m = sum_m' t_(m - m') x_m'          t_d = sum_j w_j exp(2 pi i k_j d / n),  |d| < n

A Toeplitz matrix, hence part of a circulant one of twice the size (Wajer and Pruessmann 2001; Fessler et al. 2005,
IEEE TSP 53, 3393). Images of twice the size are never made here. The frequencies of the doubled transform are those of
the plain one and those half-way between, which are the plain transform of the image times a ramp of phase; so along two
axes

    F^H F x = 1/4 sum_p conj(r_p) IDFT( K_p DFT( r_p x ) )          p = 1 ... 4,  K_p real

four masked Fourier transforms as Cartesian SENSE makes one of. Coil maps stand inside, as there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor, nn

from medldm.operators import LinearOperator, Space
from medldm_mri.gridding import gridded_once
from medldm_mri.sense import combine

# Relative error of the point spread function, far below that of the transform.
_TOLERANCE = {torch.complex64: 1e-9, torch.complex128: 1e-14}


class PointSpread(nn.Module):
    """The response to one bright voxel, as the convolution needs it.

    Args:
        points: (sample, 2), ky and kx in cycles per field of view.
        weights: (sample,), real, not negative: what each sample counts in ``A^H W A``.
        shape: of the image (y, x).
        dtype: complex64 or complex128.

    Attributes:
        densities: (4, y, x) real, K_p over 4 ny nx and over ny nx again for the scale of the orthonormal transform.
        ramps: (4, y, x) complex, r_p.
        circulant: (y, x) real, eigenvalues of the circulant matrix that is closest to ``F^H F`` (T. Chan 1988, SIAM J.
            Sci. Stat. Comput. 9, 766), in the order of a plain transform; not negative.
    """

    densities: Tensor
    ramps: Tensor
    circulant: Tensor

    def __init__(
        self, points: Tensor, weights: Tensor, shape: tuple[int, int], dtype: torch.dtype = torch.complex64
    ) -> None:
        super().__init__()
        double = (2 * shape[0], 2 * shape[1])
        # Differences d = -n ... n - 1 are an image of twice the size, on which positions in k-space count double.
        response = gridded_once(2 * points.double().cpu(), weights, double, _TOLERANCE[dtype])
        response /= math.prod(shape)
        # No two voxels are n apart. Without these entries t_-d = conj(t_d) holds throughout, and K is real.
        response[0], response[:, 0] = 0, 0
        spectrum = torch.fft.fft2(torch.fft.ifftshift(response)).real
        phases = list(product((0, 1), repeat=2))
        real = torch.empty((), dtype=dtype).real.dtype
        densities = torch.stack([spectrum[p::2, q::2] for p, q in phases]) / (4 * math.prod(shape))
        self.register_buffer("densities", densities.to(real), persistent=False)
        y, x = (torch.arange(n, dtype=torch.float64) / n for n in shape)
        ramps = [torch.exp(-1j * math.pi * (p * y[:, None] + q * x)) for p, q in phases]
        self.register_buffer("ramps", torch.stack(ramps).to(dtype), persistent=False)
        self.register_buffer("circulant", _nearest_circulant(response, shape).to(real), persistent=False)


def _nearest_circulant(response: Tensor, shape: tuple[int, int]) -> Tensor:
    ny, nx = shape
    y, x = (1 - (torch.arange(-n, n, dtype=torch.float64) / n).abs() for n in shape)
    tapered = response * y[:, None] * x
    # Displacements that differ by n are one of a circulant matrix.
    wrapped = tapered.unflatten(0, (2, ny)).sum(0).unflatten(1, (2, nx)).sum(1)
    eigenvalues: Tensor = torch.fft.fft2(wrapped).real
    return eigenvalues.clamp(min=0)


class _PerSlice(LinearOperator):
    """What the two operators of this file share: coil maps, and a few slices at a time."""

    maps: Tensor

    def __init__(self, space: Space, maps: Tensor, spread: PointSpread, slices_at_once: int) -> None:
        super().__init__()
        self.domain = self.codomain = space
        self.spread, self.slices_at_once = spread, slices_at_once
        self.register_buffer("maps", maps, persistent=False)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        return self

    def _chunks(self, samples: int) -> Iterator[tuple[tuple[int, slice], Tensor]]:
        for sample in range(samples):
            for z in range(0, self.domain.shape[0], self.slices_at_once):
                part = slice(z, z + self.slices_at_once)
                yield (sample, part), self.maps[part] if len(self.maps) > 1 else self.maps


class ToeplitzGram(_PerSlice):
    """``A^H W A`` of :class:`medldm_mri.nonuniform_sense.NonuniformSense`; its own adjoint.

    Args:
        space: of images (z, y, x).
        maps: coil maps (z or 1, coil, y, x).
        spread: of the trajectory and W.
        slices_at_once: transformed together.
    """

    def __init__(self, space: Space, maps: Tensor, spread: PointSpread, *, slices_at_once: int = 1) -> None:
        super().__init__(space, maps, spread, slices_at_once)

    def forward(self, x: Tensor) -> Tensor:
        result = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, self.maps.dtype))
        result = result.contiguous()
        images, results = x.reshape(-1, *self.domain.shape), result.view(-1, *self.domain.shape)
        for at, maps in self._chunks(len(images)):
            part = torch.empty_like(results[at])
            for ramp, density in zip(self.spread.ramps, self.spread.densities, strict=True):
                spectrum = torch.fft.fft2(maps * (images[at] * ramp)[:, None])
                combine(torch.fft.ifft2(spectrum.mul_(density), norm="forward"), maps, out=part)
                results[at].add_(part.mul_(ramp.conj()))
        return result


class CirculantPreconditioner(_PerSlice):
    """``S^H F^H (C + w)^-1 F S + (1 - |S|^2) / w``: exact where the coil maps are constant and A^H A is circulant.

    Hermitian positive definite for ``w > 0`` and maps with a sum of squares of at most 1.

    Args:
        space: of images (z, y, x).
        maps: coil maps (z or 1, coil, y, x).
        spread: of the trajectory, for C.
        weight: w.
        slices_at_once: transformed together.
    """

    outside: Tensor
    inverse: Tensor

    def __init__(
        self, space: Space, maps: Tensor, spread: PointSpread, weight: float, *, slices_at_once: int = 1
    ) -> None:
        super().__init__(space, maps, spread, slices_at_once)
        # Of no weight at all the inverse has no bound; a millionth of the largest eigenvalue is one.
        weight = max(weight, 1e-6 * float(spread.circulant.max()))
        self.register_buffer("inverse", 1 / (spread.circulant + weight), persistent=False)
        unseen = (1 - maps.abs().square().sum(1)).clamp(min=0) / weight
        self.register_buffer("outside", unseen, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        result = torch.empty_like(x, dtype=torch.promote_types(x.dtype, self.maps.dtype)).contiguous()
        images, results = x.reshape(-1, *self.domain.shape), result.view(-1, *self.domain.shape)
        for at, maps in self._chunks(len(images)):
            spectrum = torch.fft.fft2(maps * images[at][:, None])
            combine(torch.fft.ifft2(spectrum.mul_(self.inverse)), maps, out=results[at])
            results[at].add_(images[at] * (self.outside[at[1]] if len(self.outside) > 1 else self.outside))
        return result
