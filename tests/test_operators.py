"""The operator algebra: every combinator obeys the laws, and every solver-facing function has a closed form."""

from __future__ import annotations

import math

import pytest
import torch

from medldm.operators import (
    Diagonal,
    FiniteDifference,
    Identity,
    LinearOperator,
    PerSlice,
    Space,
    conjugate_gradient,
    operator_norm,
    vstack,
)


class Dense(LinearOperator):
    """A matrix on the flattened image: ``(y, x) -> (ray,)``."""

    def __init__(self, matrix: torch.Tensor, shape: tuple[int, ...], axes: tuple[str, ...] = ("y", "x")) -> None:
        super().__init__()
        self.domain = Space(axes, shape, matrix.dtype)
        self.codomain = Space(("ray",), (matrix.shape[0],), matrix.dtype)
        self.register_buffer("matrix", matrix)

    def forward(self, x):
        return torch.einsum("rn,...n->...r", self.matrix, x.flatten(-len(self.domain.shape)))

    def adjoint(self, y):
        return torch.einsum("rn,...r->...n", self.matrix.conj(), y).unflatten(-1, self.domain.shape)


class RealPart(LinearOperator):
    """Complex measurement of a real image: ``x -> c x``, whose adjoint keeps the real part."""

    def __init__(self, factor: torch.Tensor) -> None:
        super().__init__()
        self.factor = factor
        self.domain = Space(("y", "x"), tuple(factor.shape), factor.real.dtype)
        self.codomain = Space(("y", "x"), tuple(factor.shape), factor.dtype)

    def forward(self, x):
        return self.factor * x

    def adjoint(self, y):
        return (self.factor.conj() * y).real


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return Space(tuple("abcdef"[: len(shape)]), shape, dtype).randn(generator=generator(seed))


def dense(rows: int = 7, shape: tuple[int, ...] = (3, 4), dtype: torch.dtype = torch.float64, seed: int = 0) -> Dense:
    axes = ("z", "y", "x")[-len(shape) :]
    return Dense(random(rows, math.prod(shape), dtype=dtype, seed=seed), shape, axes)


def combinators(dtype: torch.dtype) -> dict[str, LinearOperator]:
    a, b, square = dense(7, dtype=dtype), dense(7, dtype=dtype, seed=1), dense(12, dtype=dtype, seed=2)
    image = a.domain
    factor = 0.5 - 2j if dtype.is_complex else -1.7
    d = Diagonal(image, random(3, 4, dtype=dtype, seed=3))
    volume = Space(("z", "y", "x"), (5, 4, 3), dtype)
    return {
        "dense": a,
        "identity": Identity(image),
        "diagonal": d,
        "broadcast diagonal": Diagonal(image, random(4, dtype=dtype, seed=4)),
        "adjoint": a.H,
        "gram": a.gram,
        "composition": a @ d,
        "composition of three": a @ d @ Identity(image),
        "sum": a + b,
        "difference": a - b,
        "negative": -a,
        "scaled": factor * a,
        "gram of scaled": (factor * a).gram,
        "scaled sum of compositions": 2.0 * (a @ d + b),
        "stack": vstack(a, square, axis="ray"),
        "per slice": PerSlice(a, 5),
        "per slice in chunks": PerSlice(a, 5, slices_at_once=2),
        "differences": FiniteDifference(volume, (3.0, 1.0, 0.5)),
        "differences along z": FiniteDifference(volume, (3.0, 1.0, 0.5), along=("z",)),
        "adjoint of differences": FiniteDifference(volume, (3.0, 1.0, 0.5), along=("y", "x")).H,
    }


CASES = [
    pytest.param(make, id=f"{name}-{str(dtype).removeprefix('torch.')}")
    for dtype in (torch.float64, torch.complex128, torch.float32)
    for name, make in combinators(dtype).items()
] + [pytest.param(RealPart(random(3, 4, dtype=torch.complex128)), id="real to complex")]


def tolerance(operator: LinearOperator) -> float:
    return 1e-5 if operator.domain.dtype in (torch.float32, torch.complex64) else 1e-12


@pytest.mark.parametrize("A", CASES)
def test_adjoint(A):
    x = A.domain.randn(2, generator=generator(5))
    for y in (A.codomain.randn(2, generator=generator(6)), A(x)):
        left, right = A.codomain.inner(y, A(x)), A.domain.inner(A.H(y), x)
        if A.domain.is_complex != A.codomain.is_complex:
            left, right = left.real, right.real
        assert torch.allclose(left, right, rtol=tolerance(A), atol=tolerance(A) * float(left.abs().max()) * 10)


@pytest.mark.parametrize("A", CASES)
def test_linear_and_batched(A):
    x, y = (A.domain.randn(2, 3, generator=generator(s)) for s in (7, 8))
    c = -1.3
    torch.testing.assert_close(A(c * x + y), c * A(x) + A(y), rtol=10 * tolerance(A), atol=100 * tolerance(A))
    one_by_one = torch.stack([torch.stack([A(item) for item in row]) for row in x])
    torch.testing.assert_close(A(x), one_by_one, rtol=10 * tolerance(A), atol=100 * tolerance(A))
    assert A(x).shape == (2, 3, *A.codomain.shape)


@pytest.mark.parametrize("A", CASES)
def test_double_adjoint_and_gram(A):
    x = A.domain.randn(generator=generator(9))
    torch.testing.assert_close(A.H.H(x), A(x))
    torch.testing.assert_close(A.gram(x), A.H(A(x)), rtol=100 * tolerance(A), atol=100 * tolerance(A))


class CheapGram(Identity):
    """An identity whose gram is told by its factor."""

    @property
    def gram(self) -> LinearOperator:
        return 5.0 * Identity(self.domain)


def test_the_gram_of_a_composition_uses_that_of_its_outer_operator():
    d = Diagonal(Space(("y", "x"), (3, 4), torch.float64), random(3, 4, dtype=torch.float64, seed=3))
    x = d.domain.randn(generator=generator(9))
    torch.testing.assert_close((CheapGram(d.domain) @ d).gram(x), 5 * d.gram(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives_of_any_order(dtype):
    for A in combinators(dtype).values():
        x = A.domain.randn(generator=generator(10)).requires_grad_()
        assert torch.autograd.gradcheck(A, (x,))
        assert torch.autograd.gradgradcheck(lambda x, A=A: A(x).abs().square(), (x,))
    F = RealPart(random(3, 4, dtype=torch.complex128))
    assert torch.autograd.gradcheck(F, (F.domain.randn(generator=generator(1)).requires_grad_(),))


def test_combinators_equal_their_matrices():
    a, b = dense(7, dtype=torch.complex128), dense(7, dtype=torch.complex128, seed=1)
    d = random(3, 4, dtype=torch.complex128, seed=3)
    x = a.domain.randn(generator=generator(11))
    flat = x.flatten()
    torch.testing.assert_close((a @ Diagonal(a.domain, d))(x), a.matrix @ (d.flatten() * flat))
    torch.testing.assert_close(((2 - 1j) * (a - b))(x), (2 - 1j) * ((a.matrix - b.matrix) @ flat))
    torch.testing.assert_close((a + b).H(a(x)), ((a.matrix + b.matrix).mH @ (a.matrix @ flat)).reshape(3, 4))
    torch.testing.assert_close(vstack(a, b, axis="ray")(x), torch.cat((a.matrix @ flat, b.matrix @ flat)))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: dense(7) @ dense(7), "takes"),
        (lambda: dense(7) + dense(6), "cannot add"),
        (lambda: dense(7) + dense(7, dtype=torch.complex128), "cannot add"),
        (lambda: 1j * dense(7), "complex factor"),
        (lambda: Diagonal(dense(7).domain, torch.ones(3, 4, dtype=torch.complex128)), "complex diagonal"),
        (lambda: vstack(dense(7), dense(7, (4, 3)), axis="ray"), "cannot stack"),
        (lambda: dense(7)(torch.zeros(4, 3, dtype=torch.float64)), "expects"),
        (lambda: dense(7)(torch.zeros(3, 4, dtype=torch.complex128)), "expects"),
        (lambda: FiniteDifference(dense(7).domain, (1.0, 0.0), ("y", "x")), "positive"),
        (lambda: Space(("y",), (3, 4)), "axis names"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(build, words):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_norm_is_the_largest_singular_value(dtype, scale):
    A = scale * dense(9, dtype=dtype)
    expected = scale * float(torch.linalg.svdvals(A.operator.matrix)[0])
    assert operator_norm(A, generator=generator(), iterations=200) == pytest.approx(expected, rel=1e-4)


def test_norm_of_stacked_identities_is_the_root_of_two():
    space = Space(("y", "x"), (5, 3))
    stacked = vstack(Identity(space), Identity(space), axis="y")
    assert operator_norm(stacked, generator=generator()) == pytest.approx(math.sqrt(2), rel=1e-6)


def test_norm_of_zero_is_zero():
    zero = 0.0 * Identity(Space(("y", "x"), (5, 3)))
    assert operator_norm(zero, generator=generator()) == 0.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_conjugate_gradients_solve_what_a_dense_solver_solves(dtype):
    B = random(12, 12, dtype=dtype)
    N = B.mH @ B + 0.5 * torch.eye(12, dtype=dtype)
    A = Dense(N, (3, 4))

    def normal(x):
        return A.forward(x).unflatten(-1, (3, 4))

    rhs = A.domain.randn(2, generator=generator(3))
    expected = torch.linalg.solve(N, rhs.flatten(1).mT).mT.reshape(2, 3, 4)
    found = conjugate_gradient(normal, rhs, dims=2, iterations=60, tolerance=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
    # In exact arithmetic n steps suffice only with the complex inner product; the bilinear one fails here.
    exact = conjugate_gradient(normal, rhs, dims=2, iterations=14, tolerance=1e-14)
    torch.testing.assert_close(exact, expected, rtol=1e-4, atol=1e-5)


def test_conjugate_gradients_go_on_from_a_start_and_take_a_preconditioner():
    d = torch.logspace(0, 4, 12, dtype=torch.float64).reshape(3, 4)
    rhs = random(3, 4)
    one = conjugate_gradient(lambda x: d * x, rhs, dims=2, iterations=1, preconditioner=lambda r: r / d)
    torch.testing.assert_close(one, rhs / d)
    near = conjugate_gradient(lambda x: d * x, rhs, dims=2, start=rhs / d, iterations=0)
    torch.testing.assert_close(near, rhs / d)


def test_a_batch_item_does_not_depend_on_its_neighbours():
    B = random(12, 12)
    N = B.mT @ B + 0.1 * torch.eye(12, dtype=torch.float64)
    easy = torch.linalg.eigh(N).eigenvectors[:, 3]  # converges in one step
    hard = random(12, seed=4)

    def solve(rhs):
        return conjugate_gradient(lambda x: x @ N, rhs, dims=1, iterations=9, tolerance=1e-6)

    together = solve(torch.stack([hard, easy, 1e6 * hard, torch.zeros(12, dtype=torch.float64)]))
    torch.testing.assert_close(together[0], solve(hard[None])[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(together[1], solve(easy[None])[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(together[2], 1e6 * together[0], rtol=1e-9, atol=1e-3)
    assert not together[3].any()


def test_differences_have_neumann_ends_and_the_unit_one_over_mm():
    space = Space(("z", "y", "x"), (4, 3, 5), torch.float64)
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in space.shape), indexing="ij")
    spacing = (5.0, 2.0, 0.5)
    slope = (0.3, -0.7, 1.1)  # per mm
    ramp = sum(s * h * i for s, h, i in zip(slope, spacing, (z, y, x), strict=True))
    D = FiniteDifference(space, spacing)
    found = D(ramp)
    for direction, (dim, s) in enumerate(zip((0, 1, 2), slope, strict=True)):
        n = space.shape[dim]
        inside, end = found[direction].split([n - 1, 1], dim)
        torch.testing.assert_close(inside, torch.full_like(inside, s))
        assert not end.any()  # wrapped ends would give minus the whole climb here
    assert not D(torch.ones(space.shape, dtype=torch.float64)).any()


def test_gram_of_differences_is_the_neumann_laplacian():
    n, h = 6, 2.5
    D = FiniteDifference(Space(("z", "y", "x"), (n, 1, 1), torch.float64), (h, 1.0, 1.0), along=("z",))
    laplacian = (
        2 * torch.eye(n, dtype=torch.float64) - torch.diag(torch.ones(n - 1), 1) - torch.diag(torch.ones(n - 1), -1)
    )
    laplacian[0, 0] = laplacian[-1, -1] = 1
    columns = torch.eye(n, dtype=torch.float64).reshape(n, n, 1, 1)
    torch.testing.assert_close(D.gram(columns).reshape(n, n), laplacian / h**2)
    # Eigenvalues of the Neumann Laplacian: 4 sin^2(pi k / 2 n) / h^2.
    largest = 2 * math.sin(math.pi * (n - 1) / (2 * n)) / h
    assert operator_norm(D, generator=generator(), iterations=300) == pytest.approx(largest, rel=1e-3)
    assert largest <= D.norm_bound


def test_buffers_follow_the_operator():
    A = Diagonal(Space(("x",), (3,)), torch.ones(3)) @ Identity(Space(("x",), (3,)))
    assert [b.dtype for b in A.to(torch.float64).buffers()] == [torch.float64]
