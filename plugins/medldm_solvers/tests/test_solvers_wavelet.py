"""The wavelet transform: orthonormal for every size, with the moments it promises."""

from __future__ import annotations

import math

import pytest
import torch

from medldm.inference import Gaussian, Noise, run
from medldm.operators import Diagonal, Identity, Space
from medldm_solvers.l1_wavelet import L1Wavelet, soft_threshold
from medldm_solvers.wavelet import WaveletTransform, daubechies

SHAPES = [(1, 16, 16), (2, 15, 22), (3, 7, 5), (1, 2, 3), (2, 1, 9)]


def noise(shape, dtype=torch.float64, seed=0):
    space = Space(("z", "y", "x"), shape, dtype)
    return space, space.randn(2, generator=torch.Generator().manual_seed(seed))


def test_the_four_tap_filter_has_its_closed_form():
    r, d = math.sqrt(3), 4 * math.sqrt(2)
    assert daubechies(2) == pytest.approx([(1 + r) / d, (3 + r) / d, (3 - r) / d, (1 - r) / d])
    assert daubechies(1) == pytest.approx([math.sqrt(0.5)] * 2)


@pytest.mark.parametrize("moments", range(1, 9))
def test_filters_are_orthonormal_and_their_high_pass_removes_polynomials(moments):
    h = daubechies(moments)
    for shift in range(moments):
        product = sum(a * b for a, b in zip(h[2 * shift :], h, strict=False))
        assert product == pytest.approx(1.0 if shift == 0 else 0.0, abs=1e-6)
    high = [(-1) ** k * t for k, t in enumerate(reversed(h))]
    for power in range(moments):
        total = sum(t * k**power for k, t in enumerate(high))
        assert total == pytest.approx(0, abs=1e-5 * (2 * moments) ** power)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("moments", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_adjoint_is_the_inverse(shape, moments, dtype):
    space, x = noise(shape, dtype)
    psi = WaveletTransform(space, moments, levels=4)
    c = psi(x)
    torch.testing.assert_close(psi.H(c), x, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(psi(psi.H(x)), x, rtol=1e-8, atol=1e-8)
    _, y = noise(shape, dtype, seed=1)
    torch.testing.assert_close(space.inner(psi(x), y), space.inner(x, psi.H(y)), rtol=1e-8, atol=1e-8)


def test_a_smooth_image_has_few_coefficients():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    image = torch.exp(-((y - 30) ** 2 + (x - 35) ** 2) / 300)[None]
    energy = WaveletTransform(Space(("z", "y", "x"), (1, 64, 64)), 4, 3)(image).square().flatten()
    largest = energy.sort(descending=True).values
    assert float(largest[:128].sum() / energy.sum()) > 0.999


def test_soft_threshold_keeps_phases_and_is_the_prox_of_the_magnitude():
    _, c = noise((2, 5, 6), torch.complex128)
    t = 0.7
    found = soft_threshold(c, t)
    moved = found.abs() > 0
    torch.testing.assert_close(found[moved].angle(), c[moved].angle())
    torch.testing.assert_close(found.abs(), (c.abs() - t).clamp(min=0))
    assert not soft_threshold(torch.zeros(3), t).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_denoising_with_a_fixed_grid_is_soft_thresholding(dtype):
    space, y = noise((2, 10, 13), dtype)
    likelihood = Gaussian(Identity(space), y[0], 0.5)
    start = torch.ones_like(y[:1])  # the unit of lam is then one
    found = run(L1Wavelet(lam=1.6, iterations=60, levels=2, shifts=False).solve(likelihood, None, start, Noise(0)))
    psi = WaveletTransform(space, 2, 2)
    expected = psi(y[:1])
    ny, nx = psi.coarsest
    kept = expected[..., :ny, :nx].clone()
    expected = soft_threshold(expected, 1.6 * 0.25)
    expected[..., :ny, :nx] = kept
    torch.testing.assert_close(found.estimate, psi.H(expected), rtol=1e-5, atol=1e-5)


def test_the_minimum_satisfies_its_optimality_conditions():
    space, y = noise((2, 10, 14), torch.complex128)
    d = 5 + space.randn(generator=torch.Generator().manual_seed(2))
    likelihood = Gaussian(Diagonal(space, d), d * y[0], 0.5)
    start, lam = torch.ones_like(y[:1]), 120.0
    solver = L1Wavelet(lam=lam, iterations=800, levels=2, shifts=False)
    u = run(solver.solve(likelihood, None, start, Noise(0))).estimate
    psi = WaveletTransform(space, 2, 2)
    ny, nx = psi.coarsest
    gradient, c = psi(likelihood.gradient(u)), psi(u)
    detail = torch.ones(space.shape, dtype=torch.bool)
    detail[..., :ny, :nx] = False
    detail = detail.expand_as(c)
    active = detail & (c.abs() > 1e-6)
    assert 0.1 < float(active.sum() / detail.sum()) < 0.9
    # -grad = lam * sign(c) where c is not zero, |grad| <= lam where it is, and zero where nothing is penalised.
    assert float((gradient + lam * c / c.abs().clamp(min=1e-12))[active].abs().max()) < 1e-3 * lam
    assert float(gradient[detail & ~active].abs().max()) <= lam * (1 + 1e-3)
    assert float(gradient[~detail].abs().max()) < 1e-3 * lam
