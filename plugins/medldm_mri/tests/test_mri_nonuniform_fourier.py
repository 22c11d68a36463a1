"""Gridding and FINUFFT against the sum they stand for; the convolution against operator and adjoint."""

from __future__ import annotations

import copy
import math
import sys
from itertools import product

import pytest
import torch
from torch import Tensor

from medldm.data import Grid
from medldm.errors import ComponentMissing
from medldm.operators import conjugate_gradient
from medldm_mri.coils import CoilArray
from medldm_mri.density_compensation import pipe_menon, ramp
from medldm_mri.finufft_transform import FinufftTransform, has_finufft
from medldm_mri.gridding import Gridding, fine_size, gridded_once, matrix_bytes
from medldm_mri.kaiser_bessel import kernel_width
from medldm_mri.nonuniform_sense import NonuniformSense
from medldm_mri.sense import Sense
from medldm_mri.toeplitz import PointSpread
from medldm_mri.trajectory import Trajectory, cycles_per_field_of_view

SHAPES = [(12, 20), (13, 16), (11, 15)]


def _complex(*shape: int, dtype: torch.dtype = torch.complex128, seed: int = 0) -> Tensor:
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    drawn = torch.randn(*shape, 2, generator=torch.Generator().manual_seed(seed), dtype=real)
    return torch.view_as_complex(drawn)


def _points(shape: tuple[int, int], samples: int = 60) -> Tensor:
    """Anywhere in k-space, its edges included."""
    unit = torch.rand(samples, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 0.5
    unit[:4] = torch.tensor([[0.5, -0.5], [-0.5, 0.5], [0.0, 0.0], [-0.5, -0.5]])
    return unit * torch.tensor(shape)


def _exact(points: Tensor, shape: tuple[int, int]) -> Tensor:
    """The matrix (sample, y, x) of the non-uniform Fourier transform."""
    y, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    along_y, along_x = (torch.outer(points[:, i], m) / n for i, m, n in ((0, y, shape[0]), (1, x, shape[1])))
    return torch.exp(-2j * math.pi * (along_y[:, :, None] + along_x[:, None]))


def _relative(a: Tensor, b: Tensor) -> float:
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tolerance", [1e-2, 2e-5, 1e-8, 1e-12])
@pytest.mark.parametrize("oversampling", [1.25, 1.5, 2.0])
def test_gridding_is_the_sum_to_the_tolerance(shape: tuple[int, int], tolerance: float, oversampling: float) -> None:
    points = _points(shape)
    if kernel_width(tolerance, oversampling) > fine_size(min(shape), oversampling):
        pytest.skip("the kernel is wider than the grid of so small an image")
    gridding = Gridding(points, shape, torch.complex128, tolerance=tolerance, oversampling=oversampling)
    x, y = _complex(3, *shape), _complex(3, len(points), seed=1)
    matrix = _exact(points, shape)
    found = gridding.to_samples(x * gridding.apodisation)
    assert _relative(found, torch.einsum("jyx,cyx->cj", matrix, x)) < tolerance
    back = gridding.to_image(y) * gridding.apodisation
    # White noise over all of k-space has much of its energy where the kernel's transform has its tails.
    assert _relative(back, torch.einsum("jyx,cj->cyx", matrix.conj(), y)) < 2 * tolerance


@pytest.mark.parametrize("shape", SHAPES)
def test_single_precision_keeps_the_tolerance(shape: tuple[int, int]) -> None:
    points = _points(shape)
    gridding = Gridding(points, shape)
    x = _complex(2, *shape)
    found = gridding.to_samples((x * gridding.apodisation).to(torch.complex64))
    assert found.dtype == torch.complex64
    assert _relative(found.to(torch.complex128), torch.einsum("jyx,cyx->cj", _exact(points, shape), x)) < 2e-5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_finufft_has_the_same_conventions(shape: tuple[int, int], dtype: torch.dtype) -> None:
    pytest.importorskip("finufft")
    points = _points(shape)
    tolerance = 2e-5 if dtype == torch.complex64 else 1e-10
    library = FinufftTransform(points, shape, dtype, tolerance=tolerance)
    for transform in (library, copy.deepcopy(library)):
        x, y = _complex(3, *shape, dtype=dtype), _complex(3, len(points), dtype=dtype, seed=1)
        matrix = _exact(points, shape).to(dtype)
        assert _relative(transform.to_samples(x), torch.einsum("jyx,cyx->cj", matrix, x)) < 3 * tolerance
        assert _relative(transform.to_image(y), torch.einsum("jyx,cj->cyx", matrix.conj(), y)) < 3 * tolerance
    # A plan for each number of columns and direction, kept.
    assert len(library._plans) == 2
    library.to_samples(x)
    assert len(library._plans) == 2


def test_finufft_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "finufft", None)
    assert not has_finufft()
    with pytest.raises(ComponentMissing) as refusal:
        FinufftTransform(_points((8, 9)), (8, 9))
    assert refusal.value.code == "E-MRI-12"


def test_one_adjoint_without_a_matrix() -> None:
    shape, points = (11, 16), _points((11, 16))
    weights = torch.rand(len(points), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    exact = torch.einsum("jyx,j->yx", _exact(points, shape).conj(), weights.to(torch.complex128))
    assert _relative(gridded_once(points, weights, shape, 1e-8), exact) < 1e-8


def test_the_matrices_take_what_was_predicted() -> None:
    points = _points((12, 20), 500)
    gridding = Gridding(points, (12, 20))
    held = sum(b.numel() * b.element_size() for m in (gridding.interpolation, gridding.spreading) for b in m.buffers())
    assert matrix_bytes(500, (12, 20), 2e-5) == pytest.approx(held, rel=1e-3)


def _sense(maps: Tensor, points: Tensor, mask: Tensor, tolerance: float, **options: int) -> NonuniformSense:
    transform = Gridding(points, tuple(maps.shape[-2:]), maps.dtype, tolerance=tolerance)
    spread = PointSpread(points, mask.flatten().double() ** 2, tuple(maps.shape[-2:]), maps.dtype)
    return NonuniformSense(maps, transform, mask, spread, **options)


@pytest.mark.parametrize("shape", [(10, 14), (9, 13)])
def test_on_a_cartesian_grid_it_is_cartesian_sense(shape: tuple[int, int]) -> None:
    ny, nx = shape
    steps = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) - n // 2 for n in shape))
    maps = CoilArray(Grid.isotropic((3, ny, nx), (3.0, 1.0, 1.2)), 4).all().to(torch.complex128)
    mask = (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.6).double()
    cartesian, operator = Sense(maps, mask), _sense(maps, steps, mask, 1e-12)
    x, y = _complex(2, 3, ny, nx), _complex(2, 3, 4, ny, nx, seed=1)
    torch.testing.assert_close(operator(x), cartesian(x), rtol=0, atol=1e-11)
    torch.testing.assert_close(operator.H(y), cartesian.H(y), rtol=0, atol=1e-11)
    torch.testing.assert_close(operator.gram(x), cartesian.gram(x), rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", [(10, 14), (9, 13)])
@pytest.mark.parametrize("at_once", [1, 2])
def test_the_convolution_is_operator_and_adjoint(shape: tuple[int, int], at_once: int) -> None:
    maps = _complex(3, 4, *shape, seed=2)
    points = _points(shape, 90)
    mask = torch.rand(9, 10, generator=torch.Generator().manual_seed(4))
    operator = _sense(maps, points, mask, 1e-12, slices_at_once=at_once)
    x = _complex(2, 3, *shape)
    exact = operator.H(operator(x))
    assert _relative(operator.gram(x), exact) < 1e-11
    # The eigenvalues of the closest circulant matrix add up to the trace.
    single = PointSpread(points, mask.flatten().double() ** 2, shape, torch.complex128)
    assert float(single.circulant.sum()) == pytest.approx(float((mask.double() ** 2).sum()), rel=1e-9)


def test_the_preconditioner_is_positive_and_shortens_conjugate_gradients() -> None:
    grid = Grid.isotropic((1, 32, 36), (3.0, 1.0, 1.0))
    points = cycles_per_field_of_view(Trajectory(shots=24).draw(grid), grid)
    maps = CoilArray(grid, 4).all().to(torch.complex128)
    operator = _sense(maps, points, torch.ones(24, len(points) // 24), 1e-10)
    weight = 0.05
    preconditioner = operator.preconditioner(torch.ones((), dtype=torch.float64))(weight)
    x, y = _complex(1, 32, 36), _complex(1, 32, 36, seed=1)
    inner = operator.domain.inner
    assert abs(complex(inner(x, preconditioner(y)) - inner(preconditioner(x), y))) < 1e-9 * abs(complex(inner(x, x)))
    assert float(inner(x, preconditioner(x)).real) > 0
    rhs = operator.gram(x) + weight * x

    def error(iterations: int, **options: object) -> float:
        found = conjugate_gradient(
            lambda u: operator.gram(u) + weight * u, rhs, dims=3, iterations=iterations, tolerance=0, **options
        )
        return _relative(found, x)

    assert error(8, preconditioner=preconditioner) < 0.2 * error(8)
    assert error(300) < 1e-3


@pytest.mark.parametrize("density", ["pipe-menon", "ramp"])
def test_density_compensation_makes_the_adjoint_nearly_the_inverse(density: str) -> None:
    """Of a smooth object, whose k-space lies inside the circle that full spokes sample."""
    n, shots = 48, 90
    grid = Grid.isotropic((1, n, n), (3.0, 1.0, 1.0))
    points = cycles_per_field_of_view(Trajectory(shots=shots, order="uniform").draw(grid), grid)
    weights = ramp(points, shots) if density == "ramp" else pipe_menon(points, (n, n))
    assert float(weights.sum()) == pytest.approx(math.pi * (n / 2) ** 2, rel=0.05)
    place = torch.arange(n, dtype=torch.float64) - n // 2
    smooth = torch.exp(-(place[:, None] ** 2 + (place - 4) ** 2) / 40).to(torch.complex128)
    gridding = Gridding(points, (n, n), torch.complex128)
    samples = gridding.to_samples((smooth * gridding.apodisation)[None])
    image = gridding.to_image(samples * weights)[0] * gridding.apodisation / n**2
    assert _relative(image, smooth) < (0.02 if density == "pipe-menon" else 0.05)


@pytest.mark.parametrize(("kind", "order"), list(product(["radial", "spiral"], ["golden", "uniform"])))
def test_trajectories_fill_what_the_grid_represents(kind: str, order: str) -> None:
    grid = Grid.isotropic((2, 30, 44), (3.0, 1.5, 0.8))
    options = Trajectory(kind=kind, shots=7, order=order, turns=3.0)
    k = options.draw(grid)
    assert k.shape == (7, options.samples(grid) // 7, 2)
    # In 1/mm: the ellipse of half-axes 1 / (2 d).
    radius = ((k[..., 0] * 2 * 1.5) ** 2 + (k[..., 1] * 2 * 0.8) ** 2).sqrt()
    assert float(radius.max()) == pytest.approx(1, abs=1e-3)
    assert float(radius.min()) == pytest.approx(0, abs=1e-12)
    steps = cycles_per_field_of_view(k, grid).unflatten(0, k.shape[:2]).diff(dim=1).norm(dim=-1)
    assert float(steps.max()) <= 0.5 * 1.02
    if kind == "radial":
        angle = torch.atan2(k[:, -1, 0] * 1.5, k[:, -1, 1] * 0.8) % math.pi
        step = math.pi / 7 if order == "uniform" else math.pi * (math.sqrt(5) - 1) / 2
        torch.testing.assert_close((angle.diff() % math.pi), torch.full((6,), step, dtype=torch.float64))
        assert options.acceleration(grid) == pytest.approx(math.pi / 2 * 44 / 7)
