"""Averaging along z: thin slices seen by thick ones."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medldm.operators import LinearOperator, Space

Profile = Literal["box", "gaussian"]
_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
_TAIL = 1e-6


def slice_positions(slices: int, spacing: float, increment: float) -> NDArray[np.float64]:
    """Centres in mm from the first thin slice's centre: as many as fit into the stack, centred on it.

    Args:
        slices: number of thin slices.
        spacing: their distance in mm.
        increment: distance of the thick ones in mm.
    """
    extent = slices * spacing
    count = max(1, math.floor(extent / increment + 1e-6))
    middle = (slices - 1) * spacing / 2
    return np.asarray(middle + (np.arange(count) - (count - 1) / 2) * increment, dtype=np.float64)


def profile_matrix(
    positions: NDArray[np.float64], slices: int, spacing: float, thickness: float, profile: Profile
) -> NDArray[np.float64]:
    """Weights (len(positions), slices): the profile integrated over each thin slice, rows summing to 1.

    A thin slice is constant over its thickness ``spacing``. Where a profile reaches beyond the stack it is truncated
    and renormalised, so that a constant image stays constant.

    Args:
        positions: of the thick slices in mm from the first thin slice's centre.
        slices: number of thin slices.
        spacing: their distance in mm.
        thickness: of a thick slice in mm; the full width at half maximum of a Gaussian.
        profile: ``box`` or ``gaussian``.
    """
    edges = (np.arange(slices + 1) - 0.5) * spacing
    offsets = edges - positions[:, None]
    if profile == "box":
        cumulative = np.clip(offsets / thickness, -0.5, 0.5)
    else:
        sigma = thickness / _FWHM_PER_SIGMA
        cumulative = 0.5 * torch.erf(torch.from_numpy(offsets / (sigma * math.sqrt(2)))).numpy()
    weights = np.diff(cumulative, axis=1)
    weights[weights < _TAIL * weights.max(axis=1, keepdims=True)] = 0
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


class SliceProfile(LinearOperator):
    """Weighted means along z: (z, y, x) -> (slice, y, x).

    Args:
        matrix: (slice, z) weights.
        plane: in-plane sizes (y, x).
        dtype: of the images, real or complex.
    """

    weights: Tensor

    def __init__(self, matrix: NDArray[np.float64], plane: tuple[int, int], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.domain = Space(("z", "y", "x"), (matrix.shape[1], *plane), dtype)
        self.codomain = Space(("slice", "y", "x"), (matrix.shape[0], *plane), dtype)
        real = torch.empty((), dtype=dtype).real.dtype if dtype.is_complex else dtype
        self.register_buffer("weights", torch.from_numpy(matrix).to(real))

    def forward(self, x: Tensor) -> Tensor:
        return self._along_z(self.weights, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._along_z(self.weights.T, y)

    def _along_z(self, matrix: Tensor, x: Tensor) -> Tensor:
        # A complex image is two real ones side by side: half the work of a complex product.
        real = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
        lead = x.ndim - 3
        mixed = matrix.to(real.dtype) @ real.reshape(*x.shape[: lead + 1], -1)
        out = mixed.reshape(*x.shape[:lead], matrix.shape[0], *real.shape[lead + 1 :])
        return torch.view_as_complex(out) if x.is_complex() else out
