"""What of an image the measurement does not tell."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.inference.likelihood import Likelihood
from medldm.inference.proximal import preconditioners, solve_normal_equations

# Voxels with less than this part of the image's root mean square have nothing in them whose origin could be asked for.
_NOTHING = 0.05


def unmeasured_part(likelihood: Likelihood, u: Tensor, iterations: int = 30) -> Tensor:
    """``(I - R) u``, ``R = (A^H W A + eps I)^-1 A^H W A``: the part of ``u`` that the measurement leaves free.

    ``R u`` is what a Wiener filter finds of ``u`` in its measurement: white images of the energy of ``u``,
    ``eps = 1 / mean |u|^2`` per real component, in noise of covariance ``W^-1``. With little noise ``R`` is ``A^+ A``
    and the part is the component in the null space (Schwab, Antholzer and Haltmeier 2019). For a diagonal ``A`` each
    element is multiplied by ``eps / (W a^2 + eps)``.

    Conjugate gradients on ``(A^H W A + eps I) n = eps u`` begin at ``u``: what lies in the null space is right from
    the first iteration on, the others find what is measured.

    Args:
        likelihood: whose operator and weights count; for photon counts the weights are the Fisher information.
        u: (*batch, z, y, x).
        iterations: of conjugate gradients, at most.
    """
    operator, weights = likelihood.operator, likelihood.weights
    energy = float(u.abs().square().mean()) / (2 if u.is_complex() else 1)
    if energy == 0:
        return torch.zeros_like(u)
    # Data weight and eps both over the energy: the system has the size of the image, also in the smallest units.
    return solve_normal_equations(
        lambda v: operator.H(energy * weights * operator(v)),
        u,
        1.0,
        (),
        dims=len(operator.domain.shape),
        preconditioner=preconditioners(operator, energy * weights),
        start=u,
        iterations=iterations,
        tolerance=1e-4,
    )


def prior_share(u: Tensor, free: Tensor) -> Tensor:
    """The share of each voxel that came from the prior: ``|n| / (|n| + |u - n|)`` with ``n`` the unmeasured part.

    Between 0, measured well, and 1, not measured. For a diagonal ``A`` it is ``eps / (W a^2 + eps)``. Where both parts
    together are below a twentieth of the image's root mean square (air), they are compared with that instead.

    Args:
        u: image.
        free: its :func:`unmeasured_part`.

    Returns:
        Real, of the shape of ``u``.
    """
    known = (u - free).abs()
    floor = _NOTHING * u.abs().square().mean().sqrt()
    together = torch.maximum(free.abs() + known, floor)
    return free.abs() / together.clamp(min=torch.finfo(together.dtype).tiny)
