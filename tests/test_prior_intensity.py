"""Physical values and model values: the card's rule, on images whose percentiles are known."""

from __future__ import annotations

import pytest
import torch

from medldm.errors import InputRefused
from medldm.priors.card import Intensity
from medldm.priors.intensity import model_map, percentile


def test_a_window_does_not_look_at_the_image() -> None:
    window = Intensity("window", low=-1000, high=1000)
    model = model_map(window, torch.zeros(2, 2, 2), "HU")
    values = torch.tensor([-1000.0, 0.0, 1000.0, 3000.0])
    torch.testing.assert_close(model(values), torch.tensor([0.0, 0.5, 1.0, 2.0]))
    torch.testing.assert_close(model.inverse(model(values)), values)
    assert (model.source, model.target) == ("HU", "model")


def test_a_percentile_is_that_of_the_magnitudes_above_zero() -> None:
    values = torch.arange(0, 101).float()
    image = torch.cat([torch.zeros(5000), values]).reshape(1, 1, -1)
    assert percentile(image, 100) == 100
    assert percentile(image, 0) == 1
    assert percentile(image, 50) == pytest.approx(50.5)
    rotated = torch.polar(image, torch.full_like(image, 2.0))
    assert percentile(rotated, 50) == pytest.approx(50.5, rel=1e-6)
    half = model_map(Intensity("percentile", percentile=50), image, "arbitrary")
    assert half(torch.tensor(50.5)) == pytest.approx(1.0)
    assert half(torch.tensor(0.0)) == 0.0


def test_the_range_of_the_model_may_be_another() -> None:
    model = model_map(Intensity("percentile", percentile=100, to=(-1, 1)), torch.tensor([0.0, 4.0]), "arbitrary")
    torch.testing.assert_close(model(torch.tensor([0.0, 2.0, 4.0])), torch.tensor([-1.0, 0.0, 1.0]))


def test_large_images_are_thinned_out() -> None:
    image = torch.linspace(0, 1, 2**22 + 7)
    assert percentile(image, 90) == pytest.approx(0.9, abs=1e-4)


@pytest.mark.parametrize("image", [torch.zeros(2, 3, 4), torch.full((2, 3, 4), float("inf")), -torch.zeros(1)])
def test_an_image_without_a_scale_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(InputRefused, match="E-RUN-11"):
        model_map(Intensity("percentile"), image, "arbitrary")
