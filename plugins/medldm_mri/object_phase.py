"""A smooth random phase for images that come as magnitudes.

A magnitude image is not what a scanner measures: field inhomogeneity, flow and the receive chain give every image a
phase. Simulating without it would commit an inverse crime, since half of k-space would repeat the other half.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from medldm.inference import Noise

# Standard deviation in radians of a linear term; each higher order has half of it.
_LINEAR, _ORDER = 0.8, 3


class SmoothPhase:
    """A polynomial of third order in z, y, x with normal coefficients and a uniform constant, in radians.

    Args:
        shape: of the volume (z, y, x); each axis runs from -1 to 1.
        noise: the draws, addressed by the case.
    """

    def __init__(self, shape: tuple[int, ...], noise: Noise) -> None:
        stream = noise.stream("phase")
        self._axes = [torch.linspace(-1, 1, n, dtype=torch.float64) if n > 1 else torch.zeros(1) for n in shape]
        self._coefficients = torch.zeros((_ORDER + 1,) * 3, dtype=torch.float64)
        for powers in product(range(_ORDER + 1), repeat=3):
            order = sum(powers)
            if 0 < order <= _ORDER:
                self._coefficients[powers] = float(stream.normal(scale=_LINEAR / 2 ** (order - 1)))
        self._coefficients[0, 0, 0] = float(stream.uniform(-math.pi, math.pi))

    def at(self, z: int) -> Tensor:
        """The factor ``exp(i phase)`` (y, x) complex64 of slice ``z``."""
        powers = torch.arange(_ORDER + 1, dtype=torch.float64)
        along_z, along_y, along_x = (axis.double()[:, None] ** powers for axis in self._axes)
        angle = along_y @ torch.einsum("i,ijk->jk", along_z[z], self._coefficients) @ along_x.T
        return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
