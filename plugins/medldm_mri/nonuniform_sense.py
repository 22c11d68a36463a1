"""SENSE on any trajectory: coil maps, non-uniform Fourier transform (Pruessmann et al. 2001).

    A x = W F_k (S_c x)          c = 1 ... coils

The transform is scaled as the orthonormal one of a Cartesian grid is, ``1 / sqrt(ny nx)``, and the centre of the image
is voxel ``n // 2``: on the points of a Cartesian grid this is the Cartesian operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from medldm.operators import LinearOperator, Space
from medldm_mri.sense import combine
from medldm_mri.toeplitz import CirculantPreconditioner, PointSpread, ToeplitzGram

PAPER = (
    "K. P. Pruessmann, M. Weiger, P. Börnert, P. Boesiger. Advances in sensitivity encoding with arbitrary k-space "
    "trajectories. Magnetic Resonance in Medicine 46(4), 638-651, 2001."
)
# Coil images held at once on an accelerator, fine grid included; on a CPU one slice at a time is the quickest.
_ACCELERATOR_BYTES = 2**30


class NonuniformTransform(Protocol):
    """Images to samples of k-space and the exact transpose, many columns at once (gridding, FINUFFT)."""

    apodisation: Tensor
    shape: tuple[int, int]
    samples: int

    def to_samples(self, images: Tensor) -> Tensor:
        """``(column, y, x)``, multiplied by ``apodisation`` -> ``(column, sample)``."""
        ...

    def to_image(self, samples: Tensor) -> Tensor:
        """``(column, sample)`` -> ``(column, y, x)``, to be multiplied by ``apodisation``."""
        ...


class NonuniformSense(LinearOperator):
    """Volume (z, y, x) -> multi-coil samples (z, coil, shot, sample), complex; the same trajectory for all slices.

    Args:
        maps: coil maps, ``(z, coil, y, x)``, or ``(1, coil, y, x)`` shared by all slices; complex64 or complex128.
        transform: of one image, for all samples of all shots.
        weights: ``(shot, sample)``, real: 1 where measured, 0 where a sample is missing.
        spread: of the transform's points, each weighted by the square of ``weights``.
        slices: number of slices; needed when the maps are shared.
        slices_at_once: slices transformed together; None is one on a CPU, and as many as keep the coil images
            within 1 GiB elsewhere.
    """

    maps: Tensor
    weights: Tensor
    fold: Tensor

    def __init__(
        self,
        maps: Tensor,
        transform: NonuniformTransform,
        weights: Tensor,
        spread: PointSpread,
        *,
        slices: int | None = None,
        slices_at_once: int | None = None,
    ) -> None:
        super().__init__()
        n_maps, coils, *plane = maps.shape
        slices = n_maps if slices is None else slices
        if n_maps not in (1, slices) or tuple(plane) != transform.shape or weights.numel() != transform.samples:
            raise ValueError(
                f"maps {tuple(maps.shape)}, {slices} slices, weights {tuple(weights.shape)} and a transform of "
                f"{transform.shape} to {transform.samples} samples do not fit"
            )
        self.domain = Space(("z", "y", "x"), (slices, *transform.shape), maps.dtype)
        self.codomain = Space(("z", "coil", "shot", "sample"), (slices, coils, *weights.shape), maps.dtype)
        self.transform, self.spread = transform, spread
        self.slices_at_once = slices_at_once
        real = torch.empty((), dtype=maps.dtype).real.dtype
        self.register_buffer("maps", maps)
        self.register_buffer("weights", weights.to(maps.device, real))
        scale = 1 / math.sqrt(math.prod(transform.shape))
        self.register_buffer("fold", transform.apodisation.to(maps.device, real) * scale)

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_empty((*self.domain.batch_shape(x), *self.codomain.shape), dtype=self._dtype(x))
        images, measurements = x.reshape(-1, *self.domain.shape), y.view(-1, *self.codomain.shape)
        for at, maps in self._chunks(len(images)):
            coil_images = maps * (images[at] * self.fold)[:, None]
            samples = self.transform.to_samples(coil_images.flatten(0, 1))
            torch.mul(samples.reshape(measurements[at].shape), self.weights, out=measurements[at])
        return y

    def adjoint(self, y: Tensor) -> Tensor:
        x = y.new_empty((*self.codomain.batch_shape(y), *self.domain.shape), dtype=self._dtype(y))
        images, measurements = x.view(-1, *self.domain.shape), y.reshape(-1, *self.codomain.shape)
        for at, maps in self._chunks(len(images)):
            samples = (measurements[at] * self.weights).flatten(2).flatten(0, 1)
            coil_images = self.transform.to_image(samples).reshape(-1, *self.maps.shape[1:])
            combine(coil_images, maps, out=images[at])
            images[at].mul_(self.fold)
        return x

    @property
    def gram(self) -> LinearOperator:
        return ToeplitzGram(self.domain, self.maps, self.spread, slices_at_once=self._slices_together())

    def preconditioner(self, data_weights: Tensor) -> Callable[[float], LinearOperator]:
        """Nearly ``(A^H W A + weight)^-1``, see :class:`medldm_mri.toeplitz.CirculantPreconditioner`; W by its mean."""
        mean = float(data_weights.mean())
        together = self._slices_together()
        return lambda weight: CirculantPreconditioner(
            self.domain, self.maps, self.spread, weight / mean, slices_at_once=together
        )

    def _dtype(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(x.dtype, self.maps.dtype)

    def _slices_together(self) -> int:
        slices, coils, *_ = self.codomain.shape
        if self.slices_at_once is not None:
            return min(slices, self.slices_at_once)
        if self.maps.device.type == "cpu":
            return 1
        coil_images = 4 * coils * math.prod(self.domain.shape[1:]) * self.maps.element_size()
        return max(1, min(slices, _ACCELERATOR_BYTES // coil_images))

    def _chunks(self, samples: int) -> Iterator[tuple[tuple[int, slice], Tensor]]:
        """Indices (sample, slices) of a few slices at a time, with the maps of those slices."""
        step = self._slices_together()
        for sample in range(samples):
            for z in range(0, self.domain.shape[0], step):
                part = slice(z, z + step)
                yield (sample, part), self.maps[part] if len(self.maps) > 1 else self.maps
