"""A linear physics of deepinv as an operator on a stack of slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import deepinv
import torch
from torch import Tensor

from medldm.errors import InputRefused, UsageError
from medldm.operators import LinearOperator, Space

Adjoint = Literal["own", "derivative"]
# Of float32 sums; physics whose adjoint is only approximate are off by 1e-3 and more.
_MISMATCH = 1e-5


class SlicewisePhysics(LinearOperator):
    """``(*batch, z, y, x)`` -> measurements of every slice, which deepinv sees as its batch.

    Complex images, and measurements of them, are two channels to deepinv.

    Args:
        physics: any :class:`deepinv.physics.LinearPhysics`.
        shape: slices, rows and columns.
        complex_image: whether images are complex.
        adjoint: ``own`` takes deepinv's ``A_adjoint``, ``derivative`` that of ``A`` by automatic differentiation, for
            physics whose own adjoint is only approximate or missing. Either is checked.

    Raises:
        UsageError: E-DIN-02 when the physics does not take such slices, E-DIN-03 when its adjoint is none.
    """

    def __init__(
        self, physics: Any, shape: tuple[int, int, int], *, complex_image: bool = False, adjoint: Adjoint = "own"
    ) -> None:
        super().__init__()
        self.physics, self.by = physics, adjoint
        dtype = torch.complex64 if complex_image else torch.float32
        self.domain = Space(("z", "y", "x"), shape, dtype)
        try:
            one = self._measured(torch.zeros((1, *shape[1:]), dtype=dtype))
        except Exception as error:
            raise UsageError(
                "E-DIN-02",
                f"{type(physics).__name__} of deepinv does not measure slices of {shape[1]} x {shape[2]}: {error}",
                fix="Give it the size of the image among its options, and complex: true where it has two channels.",
            ) from error
        # A single channel is no axis of its own.
        self.kept = tuple(one.shape[1:])
        sizes = self.kept[1:] if len(self.kept) > 1 and self.kept[0] == 1 else self.kept
        names = tuple(f"m{index}" for index in range(len(sizes)))
        self.codomain = Space(("z", *names), (shape[0], *sizes), one.dtype)
        self._require_adjoint()

    def forward(self, x: Tensor) -> Tensor:
        batch = self.domain.batch_shape(x)
        y = self._measured(x.reshape(-1, *self.domain.shape[1:]))
        return y.reshape(*batch, *self.codomain.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        batch = self.codomain.batch_shape(y)
        x = self._back(y.reshape(-1, *self.kept))
        return x.reshape(*batch, *self.domain.shape)

    def _measured(self, x: Tensor) -> Tensor:
        self._require_single(x)
        y: Tensor = self.physics.A(_channels(x) if self.domain.is_complex else x[:, None])
        complex_ = self.domain.is_complex and y.ndim > 2 and y.shape[1] == 2
        return torch.complex(y[:, 0].contiguous(), y[:, 1].contiguous()) if complex_ else y.clone()

    def _back(self, y: Tensor) -> Tensor:
        self._require_single(y)
        given = _channels(y) if y.is_complex() else y
        if self.by == "own":
            x: Tensor = self.physics.A_adjoint(given)
        else:
            size = (len(y), 2 if self.domain.is_complex else 1, *self.domain.shape[1:])
            with torch.enable_grad():
                zeros = torch.zeros(size, dtype=torch.float32, device=y.device, requires_grad=True)
                (x,) = torch.autograd.grad(self.physics.A(zeros), zeros, given.contiguous())
        return torch.complex(x[:, 0].contiguous(), x[:, 1].contiguous()) if self.domain.is_complex else x[:, 0].clone()

    def _require_single(self, x: Tensor) -> None:
        if x.dtype in (torch.float64, torch.complex128):
            raise TypeError("deepinv's physics are made for single precision")

    def _require_adjoint(self) -> None:
        """Compare ``<A x, y>`` with ``<x, A^H y>`` for white noise, independent and ``y = A x``, on one slice."""
        generator = torch.Generator().manual_seed(0)
        x = Space(self.domain.axes, (1, *self.domain.shape[1:]), self.domain.dtype).randn(generator=generator)
        measured = self._measured(x)
        other = Space(("all",), (measured.numel(),), measured.dtype).randn(generator=generator).view(measured.shape)
        for y in (measured, other):
            left = (measured.conj() * y).sum().real.double()
            right = (x.conj() * self._back(y)).sum().real.double()
            scale = torch.linalg.vector_norm(measured).double() * torch.linalg.vector_norm(y).double()
            mismatch = float((left - right).abs() / scale) if scale else 0.0
            if mismatch > _MISMATCH:
                name = type(self.physics).__name__
                raise UsageError(
                    "E-DIN-03",
                    f"A_adjoint of {name} is not the adjoint of its A: the inner products differ by {mismatch:.1e}.",
                    why="Solvers with another adjoint converge to another image, or not at all; law: adjoint.",
                    fix="Try adjoint: derivative, or other options (Tomography: adjoint_via_backprop: true).",
                )


def built(name: str, options: Mapping[str, Any]) -> Any:
    """A linear physics of deepinv by the name of its class.

    Raises:
        UsageError: E-DIN-01 for a name or options that deepinv does not know.
    """
    known = deepinv.physics
    kind = getattr(known, name, None)
    if not (isinstance(kind, type) and issubclass(kind, known.LinearPhysics)):
        raise UsageError(
            "E-DIN-01",
            f"deepinv {deepinv.__version__} has no linear physics {name!r}.",
            fix="Name a class of deepinv.physics that is a LinearPhysics, for instance Tomography or BlurFFT.",
        )
    try:
        return kind(**options)
    except Exception as error:
        raise UsageError(
            "E-DIN-01",
            f"deepinv cannot make the physics {name!r}: {error}",
            fix="Correct 'options' and 'arrays'; deepinv's documentation of the class lists them.",
        ) from error


def tensor_of(values: Any, name: str) -> Tensor:
    """A list of numbers, nested, as float32.

    Raises:
        InputRefused: E-DIN-04 when it is ragged or holds anything but finite numbers.
    """
    try:
        tensor = torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise InputRefused(
            "E-DIN-04", f"The array {name!r} is no regular list of numbers: {error}", fix="Write nested lists."
        ) from error
    if not bool(torch.isfinite(tensor).all()):
        raise InputRefused("E-DIN-04", f"The array {name!r} holds NaN or infinity.", fix="Correct its values.")
    return tensor


def _channels(x: Tensor) -> Tensor:
    return torch.stack((x.real, x.imag), 1)
