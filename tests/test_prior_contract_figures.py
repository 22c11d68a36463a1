"""The figures that cards state and the kit measures, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medldm.priors.card import Intensity, Prediction, PriorCard, Range
from medldm.priors.figures import identity_error, mean_error, round_trip_psnr, stated

CARD = PriorCard(
    name="toy",
    family="toys",
    summary="A toy.",
    modality="CT",
    quantity="HU",
    intensity=Intensity("window"),
    dimensions=2,
    spacing_mm=Range(1.0, 1.0),
    sigma=Range(0.1, 20.0),
    prediction=Prediction("edm"),
    networks={},
    weights={},
    licence="",
    quality={"a": "high", "b": True, "c": {"on": "x"}, "d": {"bound": 3, "on": "x"}, "e": 0.5},
)


class Shrinking:
    """``D(x, sigma) = x v / (v + sigma^2)``, the posterior mean of images of variance ``v`` around zero."""

    sigma_min, sigma_max = 0.1, 20.0

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x * (0.25 / (0.25 + sigma**2)).reshape(-1, 1, 1, 1)


def test_figures_at_the_ends_of_the_noise_have_a_closed_form() -> None:
    """For the exact posterior mean of N(0, v): sigma^2 / sqrt(v + sigma^2) and v / sqrt(v + sigma^2)."""
    generator = torch.Generator().manual_seed(2)
    images = 0.5 * torch.randn(4, 20, 30, 40, generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    prior = Shrinking()
    assert identity_error(prior, images, noise) == pytest.approx(0.01 / math.sqrt(0.26), rel=0.01)
    assert identity_error(prior, images, noise) < prior.sigma_min
    assert mean_error(prior, images, noise) == pytest.approx(0.25 / math.sqrt(400.25), rel=0.01)


@pytest.mark.parametrize(
    ("name", "bound"), [("a", None), ("b", None), ("c", None), ("d", 3.0), ("e", 0.5), ("f", None)]
)
def test_a_bound_is_a_number_or_a_table_with_one(name: str, bound: float | None) -> None:
    assert stated(CARD, name) == bound


def test_a_round_trip_is_measured_in_the_model_range() -> None:
    class Offset(Shrinking):
        def encode(self, x: Tensor) -> Tensor:
            return x

        def decode(self, z: Tensor) -> Tensor:
            return z + 0.02

    assert round_trip_psnr(Offset(), torch.zeros(1, 2, 3, 4), 2.0) == pytest.approx(40.0, abs=1e-4)
