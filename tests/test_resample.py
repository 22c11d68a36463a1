"""Resampling between grids: its adjoint, what it keeps, and scipy as an independent oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medldm.data import Grid
from medldm.errors import InputRefused
from medldm.operators import Resample
from medldm.operators.resample import axis_matrix

SOURCE = Grid.isotropic((7, 9, 11), (3.0, 1.0, 1.5))


def turned(shape, spacing, angle, shift=(0.4, -0.3, 0.2)) -> Grid:
    plain = Grid.isotropic(shape, spacing)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.eye(4)
    turn[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    turn[:3, 3] = shift
    return Grid(plain.shape, turn @ plain.affine)


def exchanged(grid: Grid, order, flips) -> Grid:
    """The same voxels with their tensor axes in another order and direction."""
    affine, shape = grid.affine.copy(), list(grid.shape)
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
        affine[:3, axis] *= -1
    return Grid(tuple(shape[a] for a in order), affine[:, [*order, 3]])


TARGETS = {
    "same": SOURCE,
    "finer": Grid.isotropic((12, 10, 17), (1.5, 0.8, 0.9)),
    "coarser": Grid.isotropic((3, 4, 5), (6.5, 2.2, 3.1)),
    "larger": Grid.isotropic((12, 14, 15), (3.0, 1.0, 1.5)),
    "one-slice": Grid.isotropic((1, 9, 11), (3.0, 1.0, 1.5)),
    "exchanged": exchanged(SOURCE, (2, 0, 1), (0, 2)),
    "oblique": turned((6, 8, 9), (3.0, 1.0, 1.5), 0.2),
    "oblique-coarser": turned((3, 4, 5), (6.5, 2.2, 3.1), 0.2),
}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("border", ["clamp", "zero"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.float32])
def test_the_adjoint_is_exact(name, border, dtype):
    operator = Resample(SOURCE, TARGETS[name], border=border, dtype=dtype)
    assert operator.separable == (not name.startswith("oblique"))
    g = generator()
    x = operator.domain.randn(2, 3, generator=g)
    y = operator.codomain.randn(2, 3, generator=g)
    left = operator.codomain.inner(operator(x), y)
    right = operator.domain.inner(x, operator.H(y))
    scale = operator.codomain.norm(operator(x)) * operator.codomain.norm(y)
    assert ((left - right).abs() / scale).max() < (1e-6 if dtype == torch.float32 else 1e-13)


def test_the_same_grid_is_the_identity():
    operator = Resample(SOURCE, SOURCE)
    x = operator.domain.randn(generator=generator())
    y = operator(x)
    assert torch.equal(x, y)
    y += 1
    assert not torch.equal(x, y)


def test_rounded_affines_still_copy_exactly():
    affine = SOURCE.affine.copy()
    affine[:3] += 3e-6
    rounded = Grid(SOURCE.shape, affine)
    x = Resample(SOURCE, rounded).domain.randn(generator=generator())
    assert torch.equal(Resample(SOURCE, rounded)(x), x)


def test_exchanged_axes_are_a_permutation():
    operator = Resample(SOURCE, TARGETS["exchanged"])
    x = operator.domain.randn(generator=generator())
    assert torch.equal(operator(x), x.flip(0, 2).permute(2, 0, 1))
    assert torch.equal(operator.H(operator(x)), x)


@pytest.mark.parametrize("name", TARGETS)
def test_constants_are_kept(name):
    operator = Resample(SOURCE, TARGETS[name], dtype=torch.float64)
    ones = torch.ones(SOURCE.shape, dtype=torch.float64)
    torch.testing.assert_close(operator(ones), torch.ones(TARGETS[name].shape, dtype=torch.float64))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("antialias", [True, False])
def test_linear_ramps_are_exact_inside(name, antialias):
    target = TARGETS[name]
    # A margin on the source keeps the averages of coarser voxels off its border.
    source = Grid.isotropic((23, 45, 43), (3.0, 1.0, 1.5))
    operator = Resample(source, target, antialias=antialias, dtype=torch.float64)

    def ramp(grid: Grid) -> torch.Tensor:
        index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
        return torch.from_numpy(grid.world(index) @ np.array([0.3, -1.1, 0.7]) + 2)

    torch.testing.assert_close(operator(ramp(source)), ramp(target), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("border", "mode"), [("clamp", "nearest"), ("zero", "grid-constant")])
def test_scipy_interpolates_the_same(name, border, mode):
    target = TARGETS[name]
    operator = Resample(SOURCE, target, border=border, antialias=False, dtype=torch.float64)
    x = operator.domain.randn(generator=generator())
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), -1)
    seen = (target.world(index) - SOURCE.affine[:3, 3]) @ np.linalg.inv(SOURCE.affine[:3, :3]).T
    expected = map_coordinates(x.numpy(), np.moveaxis(seen, -1, 0), order=1, mode=mode)
    np.testing.assert_allclose(operator(x).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("step", [1.0, 1.001, 1.7, 2.0, 4.3])
def test_weights_average_the_interpolant(step):
    size, width = 101, np.sqrt(step**2 - 1)
    position = np.array([50.0])
    weights = axis_matrix(position, size, width, "clamp")[0]
    offsets = np.arange(size) - position[0]
    point = axis_matrix(position, size, 0.0, "clamp")[0]
    assert weights.sum() == pytest.approx(1)
    # The second moment of the interpolant's average, by a fine quadrature of the interpolant itself.
    fine = (np.arange(20000) + 0.5) / 20000 * width - width / 2
    expected = np.interp(fine, offsets, offsets**2).mean()
    assert weights @ offsets**2 == pytest.approx(expected, abs=1e-6)
    if step == 1.0:
        np.testing.assert_allclose(weights, point)


def test_antialiasing_removes_what_the_target_cannot_hold():
    source, target = Grid.isotropic((1, 64, 64)), Grid.isotropic((1, 16, 16), (1.0, 4.0, 4.0))
    stripes = torch.tensor([1.0, -1.0]).repeat(32).expand(1, 64, 64)
    assert Resample(source, target)(stripes)[:, 2:-2, 2:-2].abs().max() < 0.05
    shifted = Grid(target.shape, target.affine + np.array([[0, 0, 0, 0.5], [0] * 4, [0] * 4, [0] * 4]))
    assert Resample(source, shifted, antialias=False)(stripes).abs().max() > 0.99


def test_gradients_of_any_order():
    operator = Resample(SOURCE, TARGETS["oblique"], dtype=torch.float64)
    x = operator.domain.randn(generator=generator()).requires_grad_()
    (gradient,) = torch.autograd.grad(0.5 * operator(x).square().sum(), x, create_graph=True)
    torch.testing.assert_close(gradient, operator.H(operator(x)))
    (second,) = torch.autograd.grad(gradient.sum(), x)
    torch.testing.assert_close(second, operator.H(operator(torch.ones_like(x))))


def test_grids_apart_are_refused():
    far = Grid(SOURCE.shape, SOURCE.affine + np.array([[0] * 4, [0] * 4, [0, 0, 0, 500.0], [0] * 4]))
    with pytest.raises(InputRefused) as refusal:
        Resample(SOURCE, far)
    assert refusal.value.code == "E-GEO-24"
