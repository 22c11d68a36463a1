"""Cartesian SENSE: coil maps, orthonormal Fourier transform, sampling mask (Pruessmann et al. 1999).

    A x = M F_c (S_c x)          c = 1 ... coils

k-space stands with its centre (frequency zero) at index ``n // 2`` of both axes, as scanners and file formats give
it. The two shifts of the centred transform are not computed: with ``c = n // 2``

    exp(-2 pi i (k - c)(m - c) / n) = exp(-2 pi i k m / n) exp(2 pi i c m / n) exp(2 pi i c (k - c) / n)

so the second factor goes into the coil maps and the third into the mask (signs for even n, phase ramps for odd n).
What is left is one multiplication, one plain transform, one multiplication.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from medldm.operators import LinearOperator, Space

PAPER = (
    "K. P. Pruessmann, M. Weiger, M. B. Scheidegger, P. Boesiger. SENSE: sensitivity encoding for fast MRI. Magnetic "
    "Resonance in Medicine 42(5), 952-962, 1999."
)

# Coil images held at once on an accelerator; on a CPU one slice at a time stays in the cache and is the fastest.
_ACCELERATOR_BYTES = 2**30


def centring(n: int, *, frequency: bool) -> Tensor:
    """The factor (n,) complex128 that turns a plain transform of length ``n`` into the centred one.

    Args:
        n: length of the axis.
        frequency: the factor of the frequency axis; else that of the image axis.
    """
    centre = n // 2
    turns = centre * (torch.arange(n) - (centre if frequency else 0)) % n
    if 2 * centre == n:
        # Half turns: exact signs instead of cosines of rounded multiples of pi.
        return torch.where(turns == 0, 1.0, -1.0).to(torch.complex128)
    angle = turns.to(torch.float64) * (2 * math.pi / n)
    return torch.polar(torch.ones_like(angle), angle)


def _plane(shape: tuple[int, int], *, frequency: bool) -> Tensor:
    y, x = (centring(n, frequency=frequency) for n in shape)
    return y[:, None] * x


class Sense(LinearOperator):
    """Volume (z, y, x) -> masked multi-coil k-space (z, coil, ky, kx), complex, orthonormal, centred.

    Args:
        maps: coil maps, ``(z, coil, y, x)``, or ``(1, coil, y, x)`` shared by all slices; complex64 or complex128,
            which is the precision of the operator.
        mask: sampling weights ``(ky, kx)``, real; the same for all slices and coils.
        slices: number of slices; needed when the maps are shared.
        slices_at_once: slices transformed together; None is one on a CPU, and as many as keep the coil images
            within 1 GiB elsewhere.
    """

    maps: Tensor
    weights: Tensor
    density: Tensor

    def __init__(
        self, maps: Tensor, mask: Tensor, *, slices: int | None = None, slices_at_once: int | None = None
    ) -> None:
        super().__init__()
        n_maps, coils, *plane = maps.shape
        slices = n_maps if slices is None else slices
        if n_maps not in (1, slices) or tuple(mask.shape) != tuple(plane):
            raise ValueError(f"maps {tuple(maps.shape)}, mask {tuple(mask.shape)} and {slices} slices do not fit")
        ny, nx = plane
        self.domain = Space(("z", "y", "x"), (slices, ny, nx), maps.dtype)
        self.codomain = Space(("z", "coil", "ky", "kx"), (slices, coils, ny, nx), maps.dtype)
        self.slices_at_once = slices_at_once
        # The scale of the orthonormal transform goes into the maps too, which spares the transform a pass.
        fold = _plane((ny, nx), frequency=False) / math.sqrt(ny * nx)
        mask = mask.cpu()
        weights = mask.to(torch.float64) * _plane((ny, nx), frequency=True)
        if ny % 2 == 0 and nx % 2 == 0:
            weights = weights.real
        real = torch.empty((), dtype=maps.dtype).real.dtype
        self.register_buffer("maps", maps * fold.to(device=maps.device, dtype=maps.dtype))
        self.register_buffer("weights", weights.to(maps.dtype if weights.is_complex() else real).to(maps.device))
        density = mask.to(torch.float64) ** 2
        if bool((mask == mask[:1]).all()):
            density = density[:1] * ny
        self.register_buffer("density", density.to(device=maps.device, dtype=real))

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_empty((*self.domain.batch_shape(x), *self.codomain.shape), dtype=self._dtype(x))
        images, measurements = x.reshape(-1, *self.domain.shape), y.view(-1, *self.codomain.shape)
        scratch = self._scratch(y, 1)
        for at, maps in self._chunks(len(images)):
            coil_images = scratch[0, : len(images[at])]
            torch.mul(maps, images[at][:, None], out=coil_images)
            torch.fft.fft2(coil_images, norm="backward", out=measurements[at])
            measurements[at].mul_(self.weights)
        return y

    def adjoint(self, y: Tensor) -> Tensor:
        x = y.new_empty((*self.codomain.batch_shape(y), *self.domain.shape), dtype=self._dtype(y))
        images, measurements = x.view(-1, *self.domain.shape), y.reshape(-1, *self.codomain.shape)
        weights = self.weights.conj().resolve_conj()
        scratch = self._scratch(x, 2)
        for at, maps in self._chunks(len(images)):
            weighted, coil_images = scratch[:, : len(images[at])]
            torch.mul(measurements[at], weights, out=weighted)
            torch.fft.ifft2(weighted, norm="forward", out=coil_images)
            combine(coil_images, maps, out=images[at])
        return x

    @property
    def gram(self) -> LinearOperator:
        return SenseGram(self)

    def apply_gram(self, x: Tensor) -> Tensor:
        """``A^H A x``; the centring of k-space cancels, so its mask is applied once and nothing else.

        Where only columns of k-space are left out (the mask depends on kx alone) the transforms along y cancel too.
        """
        transform, inverse = (
            (torch.fft.fft2, torch.fft.ifft2) if len(self.density) > 1 else (torch.fft.fft, torch.fft.ifft)
        )
        result = x.new_empty(x.shape, dtype=self._dtype(x))
        images, results = x.reshape(-1, *self.domain.shape), result.view(-1, *self.domain.shape)
        scratch = self._scratch(result, 2)
        for at, maps in self._chunks(len(images)):
            a, b = scratch[:, : len(results[at])]
            torch.mul(maps, images[at][:, None], out=a)
            transform(a, norm="backward", out=b)
            inverse(b.mul_(self.density), norm="forward", out=a)
            combine(a, maps, out=results[at])
        return result

    def _scratch(self, like: Tensor, count: int) -> Tensor:
        """Buffers of the coil images of a chunk: fresh ones per slice would be faulted in for every slice."""
        return like.new_empty((count, self._slices_together(), *self.codomain.shape[1:]))

    def _dtype(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(x.dtype, self.maps.dtype)

    def _slices_together(self) -> int:
        slices, coils, ny, nx = self.codomain.shape
        if self.slices_at_once is not None:
            return min(slices, self.slices_at_once)
        if self.maps.device.type == "cpu":
            return 1
        return max(1, min(slices, _ACCELERATOR_BYTES // (coils * ny * nx * self.maps.element_size())))

    def _chunks(self, samples: int) -> Iterator[tuple[tuple[int, slice], Tensor]]:
        """Indices (sample, slices) of a few slices at a time, with the maps of those slices."""
        step = self._slices_together()
        for sample in range(samples):
            for z in range(0, self.domain.shape[0], step):
                part = slice(z, z + step)
                yield (sample, part), self.maps[part] if len(self.maps) > 1 else self.maps


class SenseGram(LinearOperator):
    """``A^H A`` of a :class:`Sense` operator; its own adjoint."""

    def __init__(self, operator: Sense) -> None:
        super().__init__()
        self.operator = operator
        self.domain = self.codomain = operator.domain

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.apply_gram(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.apply_gram(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        return self


def combine(coil_images: Tensor, maps: Tensor, *, out: Tensor) -> None:
    """``sum_c conj(S_c) u_c`` (slice, y, x) of coil images (slice, coil, y, x), which are overwritten.

    As ``conj(sum_c S_c conj(u_c))``, which spares a conjugate copy of the maps.
    """
    torch.sum(coil_images.conj_physical_().mul_(maps), dim=1, out=out).conj_physical_()
