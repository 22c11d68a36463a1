"""Approximate inverses of normal equations that are nearly a convolution in the plane of every slice.

Nearly ``A^H W A = D G D`` (Fessler and Booth 1999): ``G = A^H A`` is taken for a convolution, and
``D^2 = A^H W A 1 / A^H A 1`` says how much the samples weigh that see a voxel. Then nearly

    (A^H W A + w I)^-1 = D^-1 (G + w D^-2)^-1 D^-1 ~ D^-1 F^-1 (g + w max(D^-2))^-1 F D^-1

with ``g`` the spectrum of the impulse response of ``G`` in the middle of the image. Projections need ``D``: behind a
chest weights differ a hundredfold, and without it conjugate gradients are no faster than with nothing.

Few views leave directions of an image unmeasured, where the inverse is ``1 / w``. An approximation that is larger there
sends the first iterations far beyond the solution, in which a data step of few iterations then ends. Hence the largest
``D^-2`` and not its mean, and a taper of the impulse response whose spectrum is positive (Bartlett's), so that no
frequency counts as unmeasured by mistake.

J. A. Fessler, S. D. Booth. Conjugate-gradient preconditioning methods for shift-variant PET image reconstruction. IEEE
Transactions on Image Processing 8(5), 688-699, 1999.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medldm.operators.linear import Composition, LinearOperator
from medldm.operators.space import Space

# Voxels that less than this part of the largest weight sees count as seen by so much.
_LEAST_SEEN = 1e-3
# Voxels of less than this part of the longest way of rays through any count as crossed by none.
_NO_RAY = 1e-6
# Of the largest eigenvalue: what keeps the inverse bounded where the identity has no weight.
_LEAST_WEIGHT = 1e-6


class NearlyShiftInvariant(LinearOperator):
    """An operator of real images (z, y, x) that sees every place of a slice alike, so that it has a preconditioner."""

    def preconditioner(self, data_weights: Tensor) -> Callable[[float], LinearOperator]:
        """See :class:`medldm.inference.HasPreconditioner`.

        Args:
            data_weights: W, zero or positive, broadcastable to the measurement.
        """
        ones = torch.ones(self.domain.shape, dtype=data_weights.dtype, device=data_weights.device)
        impulse = torch.zeros_like(ones)
        middle = tuple(n // 2 for n in self.domain.shape)
        impulse[middle] = 1
        crossed = self.adjoint(self.forward(ones))
        weighed = self.adjoint(data_weights * self.forward(ones))
        seen = weighed / crossed.clamp(min=torch.finfo(ones.dtype).tiny)
        most = float(seen.max())
        # Voxels outside every ray are no part of the system, and must not hold the others back.
        seen = torch.where(crossed > _NO_RAY * crossed.max(), seen.clamp(min=_LEAST_SEEN * most), most)
        response = self.adjoint(self.forward(impulse))[middle[0]]
        rows, columns = (_bartlett(n, ones) for n in response.shape)
        tapered = torch.fft.ifftshift(response * rows[:, None] * columns)
        spectrum = torch.fft.rfft2(tapered).real.clamp(min=0)
        root, strictest, least = seen.rsqrt(), float((1 / seen).max()), _LEAST_WEIGHT * float(spectrum.max())
        return lambda weight: WeightedConvolutionInverse(self.domain, root, spectrum + max(weight * strictest, least))


def _bartlett(n: int, like: Tensor) -> Tensor:
    """(n,) a triangle that is one at ``n // 2`` and zero at both ends."""
    away = (torch.arange(n, dtype=like.dtype, device=like.device) - n // 2).abs()
    return (1 - 2 * away / n).clamp(min=0)


class WeightedConvolutionInverse(LinearOperator):
    """``D^-1 F^-1 e^-1 F D^-1``; symmetric and positive.

    Args:
        space: of images (z, y, x), real.
        root: ``D^-1``, positive, of the space's shape.
        eigenvalues: ``e``, positive, (y, x // 2 + 1).
    """

    root: Tensor
    inverse: Tensor

    def __init__(self, space: Space, root: Tensor, eigenvalues: Tensor) -> None:
        super().__init__()
        self.domain = self.codomain = space
        self.register_buffer("root", root, persistent=False)
        self.register_buffer("inverse", 1 / eigenvalues, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        plane = self.domain.shape[-2:]
        filtered = torch.fft.rfft2(x * self.root).mul_(self.inverse)
        image: Tensor = torch.fft.irfft2(filtered, s=plane)
        return image.mul_(self.root)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)


class ShiftInvariantComposition(Composition, NearlyShiftInvariant):
    """``A R`` of an operator that sees every place alike and of one that changes nothing about that (resampling)."""
