"""DiffusionMBIR: its sampler, its ADMM across slices."""

from __future__ import annotations

import pytest
import torch

from medldm.inference import Gaussian, Noise, run
from medldm.inference.weighted_norm import MARGIN
from medldm.operators import Diagonal, Identity, Space
from medldm.testing.closed_form import GaussianPrior
from medldm_solvers.diffusion_mbir import DiffusionMBIR, _shrunk

NOISE = Noise(29)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_what_is_not_measured_is_drawn_from_the_prior(dtype):
    """One slice has no neighbours, and of it the first column is measured."""
    shape, mean, std = (1, 60, 60), 0.3, 0.5
    image = Space(("z", "y", "x"), shape, dtype)
    seen = torch.zeros(shape, dtype=dtype)
    seen[..., 0] = 1
    likelihood = Gaussian(Diagonal(image, seen), 2 * seen, 0.1)
    start = torch.full((1, *shape), mean, dtype=dtype)
    solver = DiffusionMBIR(steps=200, sigma_max=5.0)
    found = run(solver.solve(likelihood, GaussianPrior(image, mean, std), start, NOISE)).estimate
    torch.testing.assert_close(found[..., 0], torch.full_like(found[..., 0], 2), rtol=0, atol=1e-2)
    unseen = found[..., 1:] - mean
    for part in (unseen.real, unseen.imag) if dtype.is_complex else (unseen,):
        # 3540 draws: their variance has a relative standard deviation of 2.4 per cent.
        assert float(part.square().mean()) == pytest.approx(std**2, rel=0.1)


@pytest.mark.parametrize(("thickness", "divided"), [(1.0, 1.0), (4.0, 4.0)])
def test_thick_slices_are_coupled_less(thickness, divided):
    """Two slices, the plane finer than they are thick: each moves by ``lam`` over the ratio."""
    image = Space(("z", "y", "x"), (2, 2, 2), torch.float64, (thickness, 1.0, 1.0))
    y = torch.zeros(2, 2, 2, dtype=torch.float64)
    y[1] = 2.0
    lam = 0.4
    solver = DiffusionMBIR(steps=300, lam=lam, penalty=0.5, cg_iterations=20, sigma_max=1.0)
    prior, start = GaussianPrior(image, 0.5, 0.5), torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    found = run(solver.solve(Gaussian(Identity(image), y, 0.1), prior, start, NOISE)).estimate[0]
    shift = lam * MARGIN**2 / divided
    expected = torch.stack((torch.full((2, 2), shift), torch.full((2, 2), 2 - shift))).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-3)


def test_soft_thresholding_keeps_the_phase():
    x = torch.tensor([3 + 4j, 0.3j, 0], dtype=torch.complex128)
    torch.testing.assert_close(_shrunk(x, 1.0), torch.tensor([2.4 + 3.2j, 0, 0], dtype=torch.complex128))


def test_the_step_of_the_corrector_is_given_by_the_ratio_of_norms():
    """Two levels by hand, of a slice of which one voxel is measured: the others see the prior alone."""
    shape, mean, std, a, b, snr = (1, 4, 5), 0.3, 0.5, 2.0, 0.5, 0.2
    image = Space(("z", "y", "x"), shape, torch.float64)
    seen = torch.zeros(shape, dtype=torch.float64)
    seen[0, 0, 0] = 1
    start = torch.full((1, *shape), mean, dtype=torch.float64)
    solver = DiffusionMBIR(steps=2, sigma_max=a, sigma_min=b, snr=snr)
    found = next(
        solver.solve(Gaussian(Diagonal(image, seen), seen, 0.1), GaussianPrior(image, mean, std), start, NOISE)
    )
    x = a * NOISE.like(start, "start", step=0)
    clean = std**2 / (std**2 + a**2) * x
    x = clean + (b / a) ** 2 * (x - clean) + b * (1 - (b / a) ** 2) ** 0.5 * NOISE.like(start, "renoise", step=0)
    score, n = -x / (std**2 + b**2), NOISE.like(start, "correct", step=0)
    step = 2 * (snr * n.norm() / score.norm()) ** 2
    expected = mean + x + step * score + (2 * step) ** 0.5 * n
    torch.testing.assert_close(found.sample.flatten()[1:], expected.flatten()[1:], rtol=1e-4, atol=1e-4)
