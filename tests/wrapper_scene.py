"""Small images, networks and priors in double precision, for the tests of wrappers of priors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medldm.inference import BoundPrior, Denoiser, LatentPrior, PixelPrior
from medldm.testing.closed_form import GaussianNetwork, OrthonormalAutoencoder

MEAN, STD = 0.3, 0.5
DEPTH, ROWS, COLUMNS = 5, 6, 7
SIGMA = torch.tensor([0.4, 1.3], dtype=torch.float64)


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """White noise, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gaussian_denoiser(mean: float | Tensor = MEAN, std: float | Tensor = STD) -> Denoiser:
    """The posterior mean of a Gaussian, in closed form."""
    network = GaussianNetwork.edm(mean, std)
    return Denoiser(network, network.parametrization)


def column(sigma: Tensor, x: Tensor) -> Tensor:
    """The noise of each sample, for arithmetic with a batch of images."""
    return sigma.reshape(-1, *(1,) * (x.ndim - 1))


class Convolution(nn.Module):
    """A network that sees neighbours, the size of its images and what it is told: 3 samples each way, no statistics."""

    def __init__(self, channels: int = 1, dimensions: int = 2) -> None:
        super().__init__()
        make = nn.Conv2d if dimensions == 2 else nn.Conv3d
        torch.manual_seed(3)
        self.layers = nn.Sequential(*(make(channels, channels, 3, padding=1) for _ in range(3)))
        self.multiple_of = 4

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        assert all(n % self.multiple_of == 0 for n in x.shape[2:]), "the size rule is kept"
        each = (-1, *(1,) * (x.ndim - 1))
        out: Tensor = self.layers(x) + noise.reshape(each) + condition.sum(1).reshape(each)
        return out


def convolution(channels: int = 1, dimensions: int = 2) -> Denoiser:
    network = Convolution(channels, dimensions).double().requires_grad_(False)
    return Denoiser(network, GaussianNetwork.edm().parametrization)


def pixel_prior(denoiser: Denoiser | None = None, channels: int = 1) -> PixelPrior:
    """Of one slice, padded to sizes that the network takes."""
    return PixelPrior(denoiser or convolution(channels), (ROWS, COLUMNS), channels=channels, multiple=4)


def latent_prior(**options: float) -> LatentPrior:
    """Of one slice, under an autoencoder that loses nothing."""
    coder = OrthonormalAutoencoder(2, 2)
    return LatentPrior(gaussian_denoiser(), coder, (ROWS, COLUMNS), **options)  # type: ignore[arg-type]


def random_phase() -> Tensor:
    """Of a volume, the same every time."""
    return torch.polar(torch.ones(DEPTH, ROWS, COLUMNS).double(), 3 * normal(DEPTH, ROWS, COLUMNS, seed=9))


def state_of(prior: BoundPrior, batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    """A batch of states, the same every time."""
    complex_ = torch.complex128 if dtype == torch.float64 else torch.complex64
    return prior.space.randn(
        batch, generator=torch.Generator().manual_seed(1), dtype=complex_ if prior.space.is_complex else dtype
    )
