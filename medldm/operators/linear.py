"""Linear operators and their algebra.

A subclass sets ``domain`` and ``codomain`` and writes two plain methods, ``forward`` and ``adjoint``.
Shape checks and automatic differentiation live once, in ``__call__``: the derivative of ``A`` is ``A.H`` and that
of ``A.H`` is ``A``, so gradients of any order cost operator calls and keep no tensors. The base class and its
combinators share this file because each needs the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from medldm.operators.space import Space


class _Apply(torch.autograd.Function):
    """``A x`` (or ``A^H y``) whose derivative is ``A^H`` (or ``A``), to any order."""

    @staticmethod
    def forward(x: Tensor, operator: LinearOperator, adjoint: bool) -> Tensor:
        return operator.adjoint(x) if adjoint else operator.forward(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.operator, ctx.adjoint = inputs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None]:
        (grad,) = grad_outputs
        return _apply(grad, ctx.operator, not ctx.adjoint), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _apply(tangents[0], ctx.operator, ctx.adjoint)

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, operator: LinearOperator, adjoint: bool) -> Any:
        return _apply(x.movedim(in_dims[0], 0), operator, adjoint), 0


def _apply(x: Tensor, operator: LinearOperator, adjoint: bool) -> Tensor:
    apply: Any = _Apply.apply
    return cast(Tensor, apply(x, operator, adjoint))


class LinearOperator(nn.Module, ABC):
    """A linear map between two spaces, batch axes in front.

    Buffers move with ``.to()``; there is no device argument anywhere. Calling the operator deliberately bypasses
    the hooks of ``nn.Module``.
    """

    domain: Space
    codomain: Space

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """``(*batch, *domain.shape)`` -> ``(*batch, *codomain.shape)``."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """The exact (conjugate) transpose of :meth:`forward`: ``<A x, y> = <x, A^H y>``."""

    def __call__(self, x: Tensor) -> Tensor:
        """``A x`` with its shapes checked and its derivative tied to the adjoint."""
        self.domain.check(x, f"{self.name}")
        return _apply(x, self, False)

    @property
    def name(self) -> str:
        """Short name for messages."""
        return type(self).__name__

    @property
    def H(self) -> LinearOperator:  # noqa: N802  (the field's name for the adjoint)
        """The adjoint as an operator: a light view, ``A.H.H is A``."""
        return Adjoint(self)

    @property
    def gram(self) -> LinearOperator:
        """``A^H A``. Overridden where it is cheaper than both in turn (masked FFT, Toeplitz)."""
        return Composition(self.H, self)

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        return Composition(self, other)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        return Sum((self, other))

    def __rmul__(self, scalar: complex) -> LinearOperator:
        return Scaled(scalar, self)

    def __neg__(self) -> LinearOperator:
        return Scaled(-1.0, self)

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return Sum((self, -other))


def _same(a: Space, b: Space) -> bool:
    return a.shape == b.shape and a.is_complex == b.is_complex


class Adjoint(LinearOperator):
    """``A^H`` seen as an operator."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__()
        self.operator = operator
        self.domain, self.codomain = operator.codomain, operator.domain

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.forward(y)

    @property
    def name(self) -> str:
        return f"{self.operator.name}.H"

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        return self.operator


class Identity(LinearOperator):
    """``x -> x``."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.domain = self.codomain = space

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()

    def adjoint(self, y: Tensor) -> Tensor:
        return y.clone()


class Diagonal(LinearOperator):
    """``x -> d x`` with ``d`` broadcast over the space: masks, weights, phases."""

    diagonal: Tensor

    def __init__(self, space: Space, diagonal: Tensor) -> None:
        super().__init__()
        torch.broadcast_shapes(diagonal.shape, space.shape)
        if diagonal.is_complex() and not space.is_complex:
            raise ValueError(f"a complex diagonal does not map the real space {space} into itself")
        self.domain = self.codomain = space
        self.register_buffer("diagonal", diagonal)

    def forward(self, x: Tensor) -> Tensor:
        return self.diagonal * x

    def adjoint(self, y: Tensor) -> Tensor:
        return self.diagonal.conj() * y


class Composition(LinearOperator):
    """``outer @ inner``: first ``inner``, then ``outer``."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        super().__init__()
        if not _same(outer.domain, inner.codomain):
            raise ValueError(
                f"{outer.name} @ {inner.name}: {inner.name} gives {inner.codomain}, {outer.name} takes {outer.domain}"
            )
        self.outer, self.inner = outer, inner
        self.domain, self.codomain = inner.domain, outer.codomain

    def forward(self, x: Tensor) -> Tensor:
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    @property
    def gram(self) -> LinearOperator:
        # The outer operator's gram may be much cheaper than the operator and its adjoint in turn.
        return Composition(self.inner.H, Composition(self.outer.gram, self.inner))

    @property
    def name(self) -> str:
        return f"{self.outer.name} @ {self.inner.name}"


class Sum(LinearOperator):
    """``A + B + ...`` of operators between the same spaces."""

    def __init__(self, terms: Sequence[LinearOperator]) -> None:
        super().__init__()
        first = terms[0]
        for term in terms[1:]:
            if not (_same(term.domain, first.domain) and _same(term.codomain, first.codomain)):
                raise ValueError(f"cannot add {term.name} ({term.domain} -> {term.codomain}) to {first.name}")
        self.terms = nn.ModuleList(terms)
        self.domain, self.codomain = first.domain, first.codomain

    def _operators(self) -> list[LinearOperator]:
        return [cast(LinearOperator, term) for term in self.terms]

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = self._operators()
        total = first.forward(x)
        for term in rest:
            total = total + term.forward(x)
        return total

    def adjoint(self, y: Tensor) -> Tensor:
        first, *rest = self._operators()
        total = first.adjoint(y)
        for term in rest:
            total = total + term.adjoint(y)
        return total


class Scaled(LinearOperator):
    """``c A`` for a number ``c``; complex only between complex spaces."""

    def __init__(self, scalar: complex, operator: LinearOperator) -> None:
        super().__init__()
        scalar = complex(scalar)
        if scalar.imag and not (operator.domain.is_complex and operator.codomain.is_complex):
            raise ValueError(f"a complex factor needs complex spaces, {operator.name} has real ones")
        self.scalar: complex = scalar if scalar.imag else scalar.real
        self.operator = operator
        self.domain, self.codomain = operator.domain, operator.codomain

    def forward(self, x: Tensor) -> Tensor:
        return self.scalar * self.operator.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.scalar.conjugate() * self.operator.adjoint(y)

    @property
    def gram(self) -> LinearOperator:
        return Scaled(abs(self.scalar) ** 2, self.operator.gram)

    @property
    def name(self) -> str:
        return f"{self.scalar:.4g} * {self.operator.name}"
