"""chi of each slice."""

from __future__ import annotations

import math

import pytest
import torch

from medldm.inference import Coupled, Gaussian, Noise, SliceCoupling, TransmissionPoisson, WeightedGaussian
from medldm.inference.likelihood import Likelihood
from medldm.inference.misfit import slice_chi
from medldm.operators import Diagonal, LinearOperator, Space

SHAPE = (3, 40, 50)
SPACE = Space(("z", "y", "x"), SHAPE, torch.float64)
COMPLEX = Space(("z", "y", "x"), SHAPE, torch.complex128)
NOISE = Noise(5, "misfit")


def likelihood_of(kind: str, truth: torch.Tensor) -> Likelihood:
    std = 0.3
    gain = torch.linspace(1, 2, 50, dtype=torch.float64)
    if kind == "counts":
        counts = NOISE.poisson(1e4 * torch.exp(-gain * truth), "counts").double()
        return TransmissionPoisson(Diagonal(SPACE, gain), counts, 1e4)
    operator = Diagonal(COMPLEX if truth.is_complex() else SPACE, gain)
    y = gain * truth + NOISE.normal(SHAPE, truth.dtype, "measurement", std=std)
    mask = torch.ones(SHAPE, dtype=torch.float64)
    mask[1, :20] = 0
    if kind == "weighted":
        return WeightedGaussian(operator, y, mask / std**2)
    masked = Diagonal(operator.codomain, mask) @ operator
    plain = Gaussian(masked, y * mask, std, sampled=mask)
    return plain if kind == "gaussian" else Coupled.along(plain, SliceCoupling(), 0, (3.0, 1.0, 1.0))


@pytest.mark.parametrize("kind", ["gaussian", "weighted", "counts", "coupled"])
def test_each_slice_has_its_own_degrees_of_freedom(kind: str) -> None:
    dtype = torch.complex128 if kind in ("gaussian", "coupled") else torch.float64
    truth = 0.5 + NOISE.normal(SHAPE, dtype, "truth", std=0.05)
    likelihood = likelihood_of(kind, truth)
    found = slice_chi(likelihood, truth[None], NOISE)
    assert found is not None
    assert found.shape == (1, 3)
    number = torch.tensor([2000.0, 1000.0 if kind != "counts" else 2000.0, 2000.0]) * (2 if dtype.is_complex else 1)
    assert bool(((found[0] - 1).abs() < 4 * (2 / number).sqrt()).all())
    # The whole is the mean of its slices, each by its samples.
    whole = float((found[0] * number).sum() / number.sum())
    assert whole == pytest.approx(float(likelihood.chi(truth[None])), rel=1e-9)
    # A slice that does not fit is found, and only that.
    moved = truth.clone()
    moved[2] += 1
    worse = slice_chi(likelihood, moved[None], NOISE)
    assert worse is not None
    assert float(worse[0, 2]) > 5
    torch.testing.assert_close(worse[0, :2], found[0, :2])


class Mixed(LinearOperator):
    """Slices in sums: no measured sample belongs to one slice."""

    def __init__(self) -> None:
        super().__init__()
        self.domain = SPACE
        self.codomain = Space(("slab", "y", "x"), (2, 40, 50), torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack((x[..., 0, :, :] + x[..., 1, :, :], x[..., 1, :, :] + x[..., 2, :, :]), -3)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        first, second = y.unbind(-3)
        return torch.stack((first, first + second, second), -3)


def test_coupled_slices_have_the_residual_taken_back() -> None:
    truth = NOISE.normal(SHAPE, torch.float64, "truth")
    operator = Mixed()
    y = operator(truth) + NOISE.normal((2, 40, 50), torch.float64, "measurement", std=0.3)
    likelihood = Gaussian(operator, y, 0.3)
    found = slice_chi(likelihood, truth[None], NOISE)
    assert found is not None
    assert bool(((found - 1).abs() < 5 * math.sqrt(2 / 2000)).all())
    moved = truth.clone()
    moved[2] += 1
    worse = slice_chi(likelihood, moved[None], NOISE)
    assert worse is not None
    assert float(worse[0, 0]) == pytest.approx(float(found[0, 0]))
    assert float(worse[0, 2]) > 5
