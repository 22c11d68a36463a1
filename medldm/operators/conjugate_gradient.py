"""Conjugate gradients for Hermitian positive (semi-)definite systems, real or complex, batched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradient(
    normal: Callable[[Tensor], Tensor],
    rhs: Tensor,
    *,
    dims: int,
    start: Tensor | None = None,
    iterations: int = 30,
    tolerance: float = 1e-6,
    preconditioner: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Solve ``normal(u) = rhs`` by preconditioned conjugate gradients (Hestenes and Stiefel 1952).

    The inner product is the complex one, ``sum conj(a) b``; the bilinear product of some published code loses
    digits on complex data. Every batch item has its own scalars, and stops changing once it has converged, so a
    result never depends on what it was batched with.

    Args:
        normal: Hermitian positive (semi-)definite map of ``(*batch, *space)`` into itself.
        rhs: ``(*batch, *space)``.
        dims: number of axes of the space; the axes before them are batch.
        start: first iterate; zero when None.
        iterations: at most this many calls of ``normal`` (one more when ``start`` is given).
        tolerance: stop an item when its residual is below ``tolerance * |rhs|``.
        preconditioner: an approximate inverse of ``normal``, Hermitian positive definite.
    """
    axes = tuple(range(-dims, 0))

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a.conj() * b).sum(axes, keepdim=True).real

    u = torch.zeros_like(rhs) if start is None else start.clone()
    r = rhs.clone() if start is None else rhs - normal(u)
    z = r if preconditioner is None else preconditioner(r)
    p = z
    rz = inner(r, z)
    threshold = tolerance**2 * inner(rhs, rhs)
    active = inner(r, r) > threshold
    for _ in range(iterations):
        if not bool(active.any()):
            break
        q = normal(p)
        curvature = inner(p, q)
        usable = active & (curvature > 0)
        alpha = torch.where(usable, rz / torch.where(usable, curvature, 1.0), 0.0)
        u = u + alpha * p
        r = r - alpha * q
        active = usable & (inner(r, r) > threshold)
        z = r if preconditioner is None else preconditioner(r)
        rz_new = inner(r, z)
        beta = torch.where(active, rz_new / torch.where(rz > 0, rz, 1.0), 0.0)
        p = z + beta * p
        rz = rz_new
    return u
