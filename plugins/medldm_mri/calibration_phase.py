"""The phase of the object, as smooth as the calibration lines show it.

Field inhomogeneity and the receive chain give an image a phase that varies slowly. The calibration lines, combined over
the coils by the maps of the reconstruction, show it relative to those maps; a Hann window keeps their sharp ends from
ringing at the object's edge, as in homodyne detection (Noll, Nishimura and Macovski 1991, IEEE TMI 10, 154).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medldm.data import Acquisition
from medldm.errors import InputRefused
from medldm.operators import LinearOperator
from medldm_mri.calibration import calibration_region
from medldm_mri.kspace import checked_mask


def calibration_phase(acquisition: Acquisition, operator: LinearOperator) -> Tensor:
    """Unit complex numbers (z, y, x), 0 where the coil maps are zero: nothing is measured there.

    Args:
        acquisition: k-space (z, coil, ky, kx) with a fully sampled centre.
        operator: image to that k-space.

    Raises:
        InputRefused: E-MRI-07 when there is no such centre; E-MRI-04, E-MRI-06 when k-space cannot be understood.
    """
    mask = checked_mask(acquisition)
    try:
        ky, kx = calibration_region(mask)
    except InputRefused as error:
        raise InputRefused(
            "E-MRI-07",
            "The phase of the image cannot be taken from this measurement.",
            why=error.what,
            fix="Measure more calibration lines, or use a prior of complex images: prior.complex: channels.",
        ) from error
    data = acquisition.data
    centre = torch.zeros_like(data)
    window = _hann(ky, data)[:, None] * _hann(kx, data)
    centre[..., ky, kx] = data[..., ky, kx] * window
    image = operator.H(centre)
    magnitude = image.abs()
    return torch.where(magnitude > 0, image / magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny), 0)


def _hann(block: slice, like: Tensor) -> Tensor:
    """Window of a block whose frequency zero stands at its ``n // 2``; positive throughout."""
    n = block.stop - block.start
    frequency = torch.arange(n, dtype=like.real.dtype, device=like.device) - n // 2
    return torch.cos(math.pi * frequency / (n + 1)).square()
