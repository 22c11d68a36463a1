"""Named, shaped sets of tensors between which operators map."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Space:
    """One element of a space, without batch axes.

    Attributes:
        axes: names, used in every error message, e.g. ``("z", "coil", "ky", "kx")``.
        shape: sizes, one per axis.
        dtype: a floating or complex dtype. Tensors of the same kind in another precision are accepted.
        spacing: distance of neighbouring samples in mm per axis where the axes are lengths; None where not known.
            Spaces that differ in it alone are equal: it is for regularisers, not for composition.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    spacing: tuple[float, ...] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape):
            raise ValueError(f"{len(self.axes)} axis names for {len(self.shape)} sizes: {self.axes}, {self.shape}")

    def __str__(self) -> str:
        sizes = ", ".join(f"{a}={n}" for a, n in zip(self.axes, self.shape, strict=True))
        return f"({sizes}) {str(self.dtype).removeprefix('torch.')}"

    @property
    def size(self) -> int:
        """Number of samples of one element."""
        return math.prod(self.shape)

    @property
    def is_complex(self) -> bool:
        """Whether elements are complex."""
        return self.dtype.is_complex

    def dims(self) -> tuple[int, ...]:
        """The space's axes counted from the end, for reductions that keep batch axes."""
        return tuple(range(-len(self.shape), 0))

    def check(self, x: Tensor, where: str) -> None:
        """Raise ``ValueError`` unless ``x`` is ``(*batch, *shape)`` and real or complex like this space."""
        n = len(self.shape)
        if x.ndim < n or tuple(x.shape[x.ndim - n :]) != self.shape:
            raise ValueError(f"{where} expects (*batch, ...) of {self}, got {tuple(x.shape)}")
        if x.is_complex() != self.is_complex:
            raise ValueError(f"{where} expects {self}, got {x.dtype}")

    def batch_shape(self, x: Tensor) -> tuple[int, ...]:
        """The leading axes of ``x``."""
        return tuple(x.shape[: x.ndim - len(self.shape)])

    def zeros(self, *batch: int, device: torch.device | str | None = None) -> Tensor:
        """Zeros of shape ``(*batch, *shape)``."""
        return torch.zeros((*batch, *self.shape), dtype=self.dtype, device=device)

    def randn(self, *batch: int, generator: torch.Generator, dtype: torch.dtype | None = None) -> Tensor:
        """White noise with standard deviation 1 **per real component**, for tests and norms."""
        dtype = dtype or self.dtype
        shape = (*batch, *self.shape)
        real = torch.empty((), dtype=dtype).real.dtype if dtype.is_complex else dtype
        if not dtype.is_complex:
            return torch.randn(shape, generator=generator, dtype=real, device=generator.device)
        parts = torch.randn((*shape, 2), generator=generator, dtype=real, device=generator.device)
        return torch.view_as_complex(parts)

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """``<a, b> = sum conj(a) b`` over the space, one number per batch item."""
        product: Tensor = a.conj() * b
        return product.sum(self.dims())

    def norm(self, a: Tensor) -> Tensor:
        """Euclidean norm over the space, real, one number per batch item."""
        dims = self.dims()
        if a.is_complex():
            # The same number from pairs of real ones, an order of magnitude sooner: no square root per sample.
            a, dims = torch.view_as_real(a.resolve_conj()), (*(d - 1 for d in dims), -1)
        norm: Tensor = torch.linalg.vector_norm(a, dim=dims)
        return norm
