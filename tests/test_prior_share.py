"""What came from the prior, where it is known in closed form."""

from __future__ import annotations

import pytest
import torch

from medldm.inference import Gaussian, Noise, TransmissionPoisson, WeightedGaussian
from medldm.inference.likelihood import Likelihood
from medldm.inference.prior_share import prior_share, unmeasured_part
from medldm.operators import Diagonal, LinearOperator, Space

SHAPE = (2, 6, 8)


def image(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return 1.5 + Noise(3).normal(SHAPE, dtype, "image", std=0.2)


def share_of(likelihood: Likelihood, u: torch.Tensor) -> torch.Tensor:
    return prior_share(u, unmeasured_part(likelihood, u))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_a_diagonal_operator_leaves_what_its_weights_leave(dtype: torch.dtype, unit: float) -> None:
    """Also in other units of the image and of the measurement."""
    gains = torch.zeros(SHAPE, dtype=torch.float64)
    gains[0, :, 2:] = 1.0
    gains[1] = 1000.0
    std = 0.5
    space = Space(("z", "y", "x"), SHAPE, dtype)
    u = unit * image(dtype)
    likelihood = Gaussian(Diagonal(space, gains / unit), torch.zeros(SHAPE, dtype=dtype), std)
    eps = 1 / float(u.abs().square().mean()) * (2 if dtype.is_complex else 1)
    share = share_of(likelihood, u)
    expected = eps / ((gains / unit) ** 2 / std**2 + eps)
    torch.testing.assert_close(share, expected, rtol=2e-3, atol=1e-6)
    assert not share.is_complex()
    assert torch.all(share[0, :, :2] > 1 - 1e-6)  # not measured
    assert torch.all(share[1] < 1e-5)  # measured well


class Pairs(LinearOperator):
    """The sum of two neighbours is measured, their difference is not."""

    def __init__(self) -> None:
        super().__init__()
        self.domain = Space(("z", "y", "x"), SHAPE, torch.float64)
        self.codomain = Space(("z", "y", "x"), (2, 6, 4), torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., ::2] + x[..., 1::2]

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y.repeat_interleave(2, -1)


def test_with_little_noise_it_is_the_null_space() -> None:
    u = image()
    likelihood = WeightedGaussian(Pairs(), torch.zeros(2, 6, 4, dtype=torch.float64), torch.tensor(1e8).double())
    half = (u[..., ::2] - u[..., 1::2]) / 2
    expected = torch.stack((half, -half), -1).flatten(-2)
    torch.testing.assert_close(unmeasured_part(likelihood, u), expected, atol=1e-6, rtol=0)


def test_air_has_no_share() -> None:
    u = image()
    u[0] = 1e-9
    likelihood = Gaussian(Diagonal(Space(("z", "y", "x"), SHAPE, torch.float64), torch.zeros(())), 0 * u, 1.0)
    share = share_of(likelihood, u)
    assert float(share[0].max()) < 1e-6
    assert float(share[1].min()) == pytest.approx(1)
    assert float(share_of(likelihood, 0 * u).abs().max()) == 0


def test_counts_have_a_share_too() -> None:
    u = image()
    operator = Diagonal(Space(("z", "y", "x"), SHAPE, torch.float64), torch.ones(()))
    few, many = (
        share_of(TransmissionPoisson(operator, photons * torch.exp(-u), photons), u).mean() for photons in (1.0, 1e6)
    )
    assert float(many) < 1e-4
    assert float(few) > 0.1
