"""Gain and error of autoencoders without images, on maps whose figures are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medldm.priors.latent_figures import latent_figures


class Linear:
    """Decodes to ``3 z + 1``; what is encoded comes back 0.1 too large, so that images come back 0.3 too large."""

    downscale, latent_channels = 1, 2

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - 1) / 3 + 0.1, torch.zeros_like(x)

    def decode(self, z: Tensor) -> Tensor:
        return 3 * z + 1


class Repeats:
    """Decodes to ``3 z`` in blocks of 2 x 2 x 2; encodes to a quarter of the mean of each block."""

    downscale, latent_channels = 2, 1

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.nn.functional.avg_pool3d(x, 2) / 4
        return mean, torch.zeros_like(mean)

    def decode(self, z: Tensor) -> Tensor:
        return 3 * torch.nn.functional.interpolate(z, scale_factor=2)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_figures_of_a_linear_decoder(dimensions: int) -> None:
    gain, error = latent_figures(Linear(), dimensions, scale=0.5, shift=0.25)
    assert gain == pytest.approx(3 / 0.5, rel=1e-4)
    assert error == pytest.approx(0.3, rel=1e-4)


def test_figures_of_a_decoder_that_loses_a_quarter() -> None:
    gain, error = latent_figures(Repeats(), 3, scale=0.5)
    assert gain == pytest.approx(3 / 0.5, rel=1e-5)
    # 3 z becomes 3 (3 z / 4): a quarter is lost of 3 z, which has the standard deviation 3 / scale.
    assert error == pytest.approx(0.25 * 3 / 0.5, rel=0.1)
