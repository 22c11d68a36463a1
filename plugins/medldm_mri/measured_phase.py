"""The phase of the object, as smooth as the measurement shows it.

Field inhomogeneity and the receive chain give an image a phase that varies slowly. The calibration lines, combined over
the coils by the maps of the reconstruction, show it relative to those maps; a Hann window keeps their sharp ends from
ringing at the object's edge, as in homodyne detection (Noll, Nishimura and Macovski 1991, IEEE TMI 10, 154). What these
few lines miss is taken from all of k-space: a least-squares image, turned back by that phase, is nearly real, so a
low-pass of it shows the rest without the object's edges in the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medldm.data import Acquisition
from medldm.errors import InputRefused
from medldm.inference import HasPreconditioner
from medldm.operators import LinearOperator, conjugate_gradient
from medldm_mri.centred_block import centred_block
from medldm_mri.kspace import checked_kspace
from medldm_mri.separate_calibration import own_centre

# Of the phase that calibration lines miss: a half-width in cycles per field of view, as 16 calibration lines have it.
_CYCLES = 8
# Of the least-squares image: iterations, and a weight against noise where the coils cannot unfold.
_ITERATIONS, _WEIGHT = 10, 0.01


def measured_phase(acquisition: Acquisition, operator: LinearOperator) -> Tensor:
    """Unit complex numbers (z, y, x), 0 where the coil maps are zero: nothing is measured there.

    Args:
        acquisition: k-space (z, coil, ky, kx) with a fully sampled centre, or of several coils.
        operator: image to that k-space.

    Raises:
        InputRefused: E-MRI-07 of one coil without a centre; E-MRI-04, E-MRI-06 when k-space cannot be understood.
    """
    kspace, mask = checked_kspace(acquisition)
    centre = phase_centre(mask, acquisition.size("coil"))
    if centre is None:
        return image_phase(None, kspace, operator)
    return image_phase(operator.H(windowed_centre(kspace[..., *centre], kspace.shape[-2:])), kspace, operator)


def phase_centre(mask: Tensor, coils: int) -> tuple[slice, slice] | None:
    """The fully sampled centre of k-space; None where there is none but several coils, whose maps unfold the image.

    Raises:
        InputRefused: E-MRI-07 for one coil: without a centre its image is folded, and so is the phase.
    """
    if (centre := own_centre(mask)) is not None or coils > 1:
        return centre
    raise InputRefused(
        "E-MRI-07",
        "The phase of the image cannot be taken from this measurement: its k-space has no fully sampled centre.",
        why="Samples of one coil without a centre show a folded image, whose phase is none of the object.",
        fix="Measure calibration lines, or use a prior of complex images: prior.complex: channels.",
    )


def windowed_centre(calibration: Tensor, shape: Sequence[int]) -> Tensor:
    """k-space (z, coil, ky, kx) of the calibration lines alone; a Hann window keeps their ends from ringing.

    Args:
        calibration: (z, coil, ky, kx), frequency zero at index ``n // 2``.
        shape: of the whole plane (ky, kx).
    """
    sizes = calibration.shape[-2:]
    window = _hann(sizes[0], calibration)[:, None] * _hann(sizes[1], calibration)
    centre = calibration.new_zeros((*calibration.shape[:2], *shape))
    centre[..., *centred_block(shape, sizes)] = calibration * window
    return centre


def image_phase(coarse: Tensor | None, kspace: Tensor, operator: LinearOperator) -> Tensor:
    """Unit complex numbers (z, y, x): the phase of a coarse image, and what a least-squares image shows beyond it.

    Args:
        coarse: image (z, y, x) of the centre of k-space; None takes a low-pass of the least-squares image: a separate
            calibration shows the phase of another contrast.
        kspace: all that was measured, 0 where nothing was.
        operator: image to k-space.
    """
    unit = kspace.real.new_ones(())
    preconditioner = operator.preconditioner(unit)(_WEIGHT) if isinstance(operator, HasPreconditioner) else None
    image = conjugate_gradient(
        lambda u: operator.gram(u) + _WEIGHT * u,
        operator.H(kspace),
        dims=3,
        iterations=_ITERATIONS,
        preconditioner=preconditioner,
    )
    coarse = unit_phase(torch.where(image == 0, 0, _smooth(image)) if coarse is None else coarse)
    return unit_phase(coarse * _smooth(coarse.conj() * image))


def unit_phase(image: Tensor) -> Tensor:
    """The phase alone, as unit complex numbers; 0 where the image is."""
    magnitude = image.abs()
    return torch.where(magnitude > 0, image / magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny), 0)


def _smooth(image: Tensor) -> Tensor:
    """Low-pass of (z, y, x) within each slice, by a Hann window of half-width ``_CYCLES``."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))
    kept = torch.zeros_like(spectrum)
    sizes = [min(n, 2 * _CYCLES - 1) for n in image.shape[-2:]]
    rows, columns = centred_block(image.shape[-2:], sizes)
    window = _hann(sizes[0], image)[:, None] * _hann(sizes[1], image)
    kept[..., rows, columns] = spectrum[..., rows, columns] * window
    smooth: Tensor = torch.fft.ifft2(torch.fft.ifftshift(kept, dim=(-2, -1)))
    return smooth


def _hann(n: int, like: Tensor) -> Tensor:
    """Window of ``n`` samples whose frequency zero stands at ``n // 2``; positive throughout."""
    frequency = torch.arange(n, dtype=like.real.dtype, device=like.device) - n // 2
    return torch.cos(math.pi * frequency / (n + 1)).square()
