"""How large an operator is, for step sizes: sums of absolute values where they can be had, else the spectral norm."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.inference import Noise, spectral_norm
from medldm.operators import LinearOperator


def absolute_sums(operator: LinearOperator, noise: Noise, like: Tensor, row_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds ``R_i`` and ``C_j`` with ``|S^(1/2) A T^(1/2)| <= 1`` for ``S_i = w_i / R_i``, ``T_j = 1 / C_j``.

    For an operator without negative entries these are the row sums ``R = A 1`` and the weighted column sums
    ``C = A^H w`` (Pock and Chambolle 2011, Lemma 2 with alpha = 1, the rows of ``A`` scaled by ``w``). For all others,
    complex ones above all, both are the spectral norm, which satisfies the same inequality.

    Args:
        operator: ``A``.
        noise: randomness of the probe and of the power method.
        like: an image, for dtype and device.
        row_weights: ``w``, positive, broadcastable to the measurement.

    Returns:
        ``R`` broadcastable to the measurement and ``C`` broadcastable to the image.
    """
    ones = torch.ones(operator.domain.shape, dtype=like.dtype, device=like.device)
    if not (operator.domain.is_complex or operator.codomain.is_complex):
        rows = operator(ones)
        if _has_no_negative_entry(operator, noise, ones, rows):
            columns = operator.H(row_weights * torch.ones_like(rows))
            # A ray that misses the image, or a voxel that no ray meets, has the sum zero and may have any step.
            return rows.clamp(min=1e-3 * float(rows.max())), columns
    norm = spectral_norm(operator, noise, like.device)
    real = ones.real if ones.is_complex() else ones
    return torch.full_like(real[:1, :1, :1], norm), torch.full_like(real[:1, :1, :1], norm * float(row_weights.max()))


def mean_gain(operator: LinearOperator, noise: Noise, like: Tensor, rows: Tensor, columns: Tensor) -> float:
    """Mean square of ``S^(1/2) A T^(1/2)`` over white-noise images: one for the identity, 1/4 for MR at four times.

    Projections average, so nearly all images are almost in their null space: 1/300 for 60 views of 256 x 256 pixels.

    Args:
        operator: ``A``.
        noise: randomness of the one probe.
        like: an image, for dtype and device.
        rows: bound ``R`` of :func:`absolute_sums`.
        columns: bound ``C`` of :func:`absolute_sums`.
    """
    shape = (1, *operator.domain.shape)
    probe = noise.like(like.new_empty(shape), "gain", step=0)
    measured = operator(probe).abs().square() / rows
    return float(measured.sum() / (columns * probe.abs().square()).sum())


def _has_no_negative_entry(operator: LinearOperator, noise: Noise, ones: Tensor, rows: Tensor) -> bool:
    """Whether ``|A s| <= A 1`` for random signs ``s``: always so without negative entries, hardly ever with some."""
    if bool((rows < 0).any()):
        return False
    signs = torch.sign(noise.like(ones[None], "signs", step=0))[0]
    return bool((operator(signs).abs() <= rows + 1e-5 * rows.max()).all())
