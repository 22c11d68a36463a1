"""Each law of operators holds for good operators and fails for an operator broken in that way only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from law_scene import failing, names
from torch import Tensor

from medldm.operators import Diagonal, FiniteDifference, Identity, LinearOperator, Space
from medldm.testing import operator_laws as laws
from medldm.testing.contracts import OperatorContract
from medldm.testing.law import NotApplicable, name_of

REAL = Space(("z", "y", "x"), (3, 4, 5))
COMPLEX = Space(("z", "y", "x"), (3, 4, 5), torch.complex64)
DOUBLE = Space(("z", "y", "x"), (3, 4, 5), torch.complex128)


def phases(space: Space) -> Tensor:
    return space.randn(generator=torch.Generator().manual_seed(5))


class Matrix(LinearOperator):
    """A dense matrix along x; what every broken operator below is derived from."""

    matrix: Tensor

    def __init__(self, **broken: Any) -> None:
        super().__init__()
        self.broken = broken
        self.calls = 0
        self.domain, self.codomain = REAL, Space(("z", "y", "bin"), (3, 4, 7))
        self.register_buffer("matrix", torch.randn(7, 5, generator=torch.Generator().manual_seed(4)))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if "inplace" in self.broken:
            x *= 1.0 + 1e-3
        if "layout" in self.broken:
            # as_strided reads memory as if the input were contiguous.
            x = torch.as_strided(x, x.shape, torch.empty(x.shape).stride())
        y = x @ self.matrix.to(x.dtype).T
        if "square" in self.broken:
            y = y + 0.1 * y**2
        if "offset" in self.broken:
            y = y + 1.0
        if "dtype" in self.broken:
            y = y.double()
        if "single" in self.broken:
            y = (x.float() @ self.matrix.float().T).to(x.dtype)
        if "random" in self.broken:
            y = y * (1 + 1e-6 * self.calls)
        if "mix" in self.broken and x.ndim > 3:
            y = y + 0.01 * y.mean(0, keepdim=True)
        if "shape" in self.broken and x.ndim == 3:
            y = y[None]
        if "detach" in self.broken:
            y = y.detach()
        return y

    def adjoint(self, y: Tensor) -> Tensor:
        x = y @ self.matrix.to(y.dtype)
        return x * (1 + 1e-4) if "adjoint" in self.broken else x

    @property
    def gram(self) -> LinearOperator:
        return 1.01 * super().gram if "gram" in self.broken else super().gram


class TestMatrix(OperatorContract):
    @pytest.fixture
    def operator(self) -> LinearOperator:
        return Matrix()


@pytest.mark.parametrize("law", laws.OPERATOR_LAWS, ids=name_of)
@pytest.mark.parametrize(
    "operator",
    [
        Identity(COMPLEX),
        Diagonal(COMPLEX, phases(COMPLEX)),
        Diagonal(DOUBLE, phases(DOUBLE)),
        FiniteDifference(REAL, (2.0, 1.0, 0.5)),
        (1.5 - 0.5j) * Diagonal(COMPLEX, phases(COMPLEX)).H,
        Matrix().H,
    ],
    ids=lambda op: op.name,
)
def test_good_operators_obey(law: laws.OperatorLaw, operator: LinearOperator) -> None:
    try:
        law(operator)
    except NotApplicable:
        pytest.skip("says nothing about this operator")


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (laws.law_shapes, "shape"),
        (laws.law_dtype, "dtype"),
        (laws.law_linear, "square"),
        (laws.law_linear, "offset"),
        (laws.law_adjoint, "adjoint"),
        (laws.law_adjoint_in_double_precision, "single"),
        (laws.law_batch_equals_loop, "mix"),
        (laws.law_inputs_unchanged, "inplace"),
        (laws.law_any_memory_layout, "layout"),
        (laws.law_deterministic, "random"),
        (laws.law_gram, "gram"),
    ],
)
def test_a_broken_operator_is_found(law: laws.OperatorLaw, broken: str) -> None:
    law(Matrix())
    with pytest.raises(AssertionError):
        law(Matrix(**{broken: True}))


class OwnCall(Matrix):
    """Bypasses the derivative of the base class, wrongly."""

    def __call__(self, x: Tensor) -> Tensor:
        self.domain.check(x, "OwnCall")
        return self.forward(x) + 0.05 * (x**2).sum()


@pytest.mark.parametrize("law", [laws.law_gradient_is_adjoint, laws.law_double_backward])
def test_a_wrong_derivative_is_found(law: laws.OperatorLaw) -> None:
    with pytest.raises(AssertionError):
        law(OwnCall())


class Preconditioned(Matrix):
    """With the inverse of the diagonal of its normal equations, or with something broken in its place."""

    def preconditioner(self, data_weights: Tensor) -> Callable[[float], LinearOperator]:
        normal = float(data_weights.mean()) * self.matrix.square().sum(0)
        return lambda weight: self._inverse(1 / (normal + weight))

    def _inverse(self, diagonal: Tensor) -> LinearOperator:
        if "one-sided" in self.broken:
            return (Matrix().H @ Matrix()) @ Diagonal(self.domain, diagonal)
        return Diagonal(self.domain, -diagonal if "negative" in self.broken else diagonal)


@pytest.mark.parametrize("broken", ["one-sided", "negative"])
def test_a_wrong_preconditioner_is_found(broken: str) -> None:
    for law in laws.OPERATOR_LAWS:
        with contextlib.suppress(NotApplicable):
            law(Preconditioned())
    operator = Preconditioned(**{broken: True})
    assert failing(laws.OPERATOR_LAWS, lambda: (operator,)) == names(laws.law_preconditioner)


def test_wrong_shapes_must_be_refused() -> None:
    class Lenient(Identity):
        def __call__(self, x: Tensor) -> Tensor:
            return self.forward(x)

    with pytest.raises(AssertionError, match="was accepted"):
        laws.law_shapes(Lenient(REAL))


def test_axes_must_be_named_once() -> None:
    with pytest.raises(AssertionError):
        laws.law_spaces(Identity(Space(("z", "x", "x"), (3, 4, 5))))


def test_double_precision_keeps_the_imaginary_part() -> None:
    double = laws.in_double_precision(Diagonal(COMPLEX, phases(COMPLEX)))
    assert isinstance(double, Diagonal)
    assert double.diagonal.dtype == torch.complex128
    assert bool(double.diagonal.imag.any())


def test_an_independent_y_alone_would_not_have_found_the_adjoint() -> None:
    wrong = Matrix(adjoint=True)
    x, y = laws.draw(wrong.domain), laws.draw(wrong.codomain, seed=1)
    correlated = laws.adjoint_mismatch(wrong, x, wrong.forward(x))
    assert correlated == pytest.approx(1e-4 * float(wrong.forward(x).square().sum()) / _product(wrong, x), rel=1e-2)
    assert laws.adjoint_mismatch(wrong, x, y) < correlated


def _product(operator: LinearOperator, x: Tensor) -> float:
    y = operator.forward(x)
    return float(y.norm() * y.norm())
