"""The centre of k-space on a Cartesian grid, from samples along a trajectory.

Coil maps and the smooth phase are estimated from a fully sampled Cartesian centre. Spokes and spirals measure the
centre densely, so the image of each coil alone, by least squares, has it right, whatever it lacks further out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medldm.errors import InputRefused
from medldm.operators import conjugate_gradient
from medldm_mri.centred_block import centred_block
from medldm_mri.nonuniform_sense import NonuniformSense

# A block smaller than this shows too little of the coils; a larger one than this changes the maps little.
_LEAST, _LARGEST = 12, 24
# A Cartesian sample is known where a measured one is as near as this, in steps of the Cartesian grid.
_NEAR = 0.75
# Of the images of single coils: conjugate gradients, and the weight that ends where nothing was measured.
_ITERATIONS, _WEIGHT = 8, 0.01


def central_kspace(kspace: Tensor, points: Tensor, operator: NonuniformSense) -> Tensor:
    """Fully sampled Cartesian centre (z, coil, ky, kx), frequency zero at index ``n // 2``, orthonormal scale.

    Args:
        kspace: (z, coil, shot, sample).
        points: (sample, 2), ky and kx in cycles per field of view.
        operator: of one coil that is 1 everywhere and of as many slices as there are coils.

    Raises:
        InputRefused: E-MRI-11 the trajectory leaves holes in the centre.
    """
    ny, nx = operator.domain.shape[1:]
    measured = points[operator.weights.flatten().cpu() > 0]
    size = _covered(measured, (ny, nx))
    rows, columns = centred_block((ny, nx), (size, size))
    gram = operator.gram
    preconditioner = operator.preconditioner(kspace.real.new_ones(()))(_WEIGHT)
    centre = kspace.new_empty((*kspace.shape[:2], size, size))
    for z, data in enumerate(kspace):
        # The coils are the batch of conjugate gradients, each with scalars of its own.
        images = conjugate_gradient(
            lambda u: gram.forward(u) + _WEIGHT * u,
            operator.adjoint(data[:, None]),
            dims=2,
            iterations=_ITERATIONS,
            preconditioner=preconditioner.forward,
        )
        shifted = torch.fft.ifftshift(images, dim=(-2, -1))
        spectrum = torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=(-2, -1))
        centre[z] = spectrum[:, rows, columns]
    return centre


def _covered(points: Tensor, shape: tuple[int, int]) -> int:
    """Side of the largest centred block whose every Cartesian sample has a measured one nearby."""
    largest = min(_LARGEST, *shape)
    inner = points[points.abs().amax(1) <= largest / 2 + 1]
    steps = torch.arange(largest, dtype=torch.float64) - largest // 2
    cartesian = torch.cartesian_prod(steps, steps)
    nearest = torch.cat([_nearest(part, inner) for part in cartesian.split(64)])
    # The ring that the holes begin at: the block of side n reaches from -(n // 2) to (n - 1) // 2.
    holes = cartesian[nearest > _NEAR]
    reached = torch.where(holes < 0, -2 * holes, 2 * holes + 1).amax(1)
    size = min(largest, int(reached.min()) - 1) if len(holes) else largest
    if size < min(_LEAST, *shape):
        raise InputRefused(
            "E-MRI-11",
            f"The trajectory samples the centre of k-space fully over {max(size, 0)} x {max(size, 0)} steps only.",
            why=f"Coil maps and phase are estimated from at least {_LEAST} x {_LEAST}.",
            fix="Measure more shots or a denser centre, or use maps of the measurement: operator.maps: simulated.",
        )
    return size


def _nearest(cartesian: Tensor, points: Tensor) -> Tensor:
    if not len(points):
        return torch.full((len(cartesian),), math.inf, dtype=torch.float64)
    return torch.cdist(cartesian, points).amin(1)
