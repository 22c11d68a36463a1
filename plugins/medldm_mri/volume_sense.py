"""Cartesian SENSE of a volume with two phase-encoding directions.

    A x = M F_z F_y F_x (S_c x)

The readout direction x is sampled in full and its transform is unitary, so k-space falls apart into planes: for every
place along x a SENSE problem in (z, y), whose slices those of :class:`medldm_mri.sense.Sense` are. Slices along z are
coupled; the Gram operator has no transform along x at all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.operators import LinearOperator, Space
from medldm_mri.sense import Sense


class VolumeSense(LinearOperator):
    """Volume (z, y, x) -> masked multi-coil k-space (coil, kz, ky, kx), complex, orthonormal, centred.

    Args:
        maps: coil maps with the readout in front, ``(x, coil, z, y)``; complex64 or complex128.
        mask: sampling weights ``(kz, ky)``, real; the same for all readouts and coils.
    """

    def __init__(self, maps: Tensor, mask: Tensor) -> None:
        super().__init__()
        nx, coils, nz, ny = maps.shape
        self.planes = Sense(maps, mask)
        self.domain = Space(("z", "y", "x"), (nz, ny, nx), maps.dtype)
        self.codomain = Space(("coil", "kz", "ky", "kx"), (coils, nz, ny, nx), maps.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return to_readout_frequency(self.planes.forward(x.movedim(-1, -3)))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.planes.adjoint(to_readout_place(y)).movedim(-3, -1)

    @property
    def gram(self) -> LinearOperator:
        return VolumeSenseGram(self)


class VolumeSenseGram(LinearOperator):
    """``A^H A`` of a :class:`VolumeSense` operator; its own adjoint."""

    def __init__(self, operator: VolumeSense) -> None:
        super().__init__()
        self.operator = operator
        self.domain = self.codomain = operator.domain

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.planes.apply_gram(x.movedim(-1, -3)).movedim(-3, -1)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        return self


def to_readout_place(kspace: Tensor) -> Tensor:
    """k-space (..., coil, kz, ky, kx) -> (..., x, coil, kz, ky): orthonormal inverse transform of the readout."""
    shifted = torch.fft.ifftshift(kspace, dim=-1)
    places: Tensor = torch.fft.fftshift(torch.fft.ifft(shifted, norm="ortho"), dim=-1)
    return places.movedim(-1, -4)


def to_readout_frequency(planes: Tensor) -> Tensor:
    """(..., x, coil, kz, ky) -> k-space (..., coil, kz, ky, kx), the inverse of :func:`to_readout_place`."""
    shifted = torch.fft.ifftshift(planes.movedim(-4, -1), dim=-1)
    kspace: Tensor = torch.fft.fftshift(torch.fft.fft(shifted, norm="ortho"), dim=-1)
    return kspace
