"""Networks whose results are known in closed form, for tests of priors and of what is built on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from medldm.inference.parametrization import Parametrization, edm
from medldm.operators import Space


def gaussian_mean(x: Tensor, sigma: float | Tensor, mean: float | Tensor, std: float | Tensor) -> Tensor:
    """``E[x0 | x0 + sigma n = x]`` for ``x0 ~ N(mean, std^2)``, element by element."""
    result: Tensor = mean + std**2 / (std**2 + sigma**2) * (x - mean)
    return result


class GaussianNetwork(nn.Module):
    """What a perfect network of a parametrization predicts where each element is ``N(mean, std^2)`` on its own.

    Args:
        parametrization: that it was trained in.
        sigma_of: the inverse of ``parametrization.noise``.
        mean: number, or tensor that broadcasts against (channel, *spatial).
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        parametrization: Parametrization,
        sigma_of: Callable[[Tensor], Tensor],
        mean: float | Tensor = 0.3,
        std: float | Tensor = 0.5,
    ) -> None:
        super().__init__()
        self.parametrization = parametrization
        self.sigma_of = sigma_of
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float64))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float64))

    @classmethod
    def edm(cls, mean: float | Tensor = 0.3, std: float | Tensor = 0.5, sigma_data: float = 0.5) -> GaussianNetwork:
        """In the parametrization of Karras et al. 2022, noise levels 0.002 to 80."""
        return cls(edm(sigma_data, 0.002, 80.0), lambda noise: (4 * noise).exp(), mean, std)

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        """See :class:`medldm.inference.DenoisingNetwork`."""
        p = self.parametrization
        sigma = self.sigma_of(noise)
        skip, out, scale = (f(sigma).to(x).reshape(-1, *(1,) * (x.ndim - 1)) for f in (p.skip, p.out, p.scale))
        noisy = x / scale
        level = sigma.to(x).reshape(scale.shape)
        predicted: Tensor = (gaussian_mean(noisy, level, self.mean.to(x), self.std.to(x)) - skip * noisy) / out
        return predicted


class GaussianPrior:
    """A :class:`medldm.inference.BoundPrior` of images whose elements are ``N(mean, std^2)`` on their own.

    A complex space has complex means, and ``std`` per real component. Differentiable in the state.

    Args:
        space: of the image, real or complex.
        mean: number, or tensor that broadcasts against ``space``.
        std: likewise, real and positive.
        sigma_min: smallest noise level of use.
        sigma_max: largest.
    """

    latent = False
    gain = 1.0
    error = 0.0
    decode_gradient = True

    def __init__(
        self,
        space: Space,
        mean: complex | Tensor = 0.3,
        std: float | Tensor = 0.5,
        *,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
    ) -> None:
        self.space = self.image = space
        self.mean = torch.as_tensor(mean)
        self.std = torch.as_tensor(std)
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        self.space.check(x, "denoise")
        real = x.real.dtype
        level = sigma.to(real).reshape(-1, *(1,) * (x.ndim - 1))
        return gaussian_mean(x, level, self.mean.to(x), self.std.to(device=x.device, dtype=real))

    def encode(self, x: Tensor) -> Tensor:
        """``x``."""
        return x

    def decode(self, z: Tensor) -> Tensor:
        """``z``."""
        return z


class AffineRegressor(GaussianPrior):
    """A regressor that gives ``gain x + offset`` for a start image ``x``, element by element.

    Args:
        space: of the image, real or complex.
        gain: number, or tensor that broadcasts against ``space``.
        offset: likewise.
    """

    def __init__(self, space: Space, gain: float | Tensor, offset: complex | Tensor = 0.0) -> None:
        super().__init__(space, sigma_min=0.0, sigma_max=0.0)
        self.slope, self.offset = torch.as_tensor(gain), torch.as_tensor(offset)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`; there is no noise whose level could matter."""
        self.space.check(x, "denoise")
        return self.slope.to(x) * x + self.offset.to(x)


class GaussianLatents(GaussianPrior):
    """The same of latents that are the image mirrored along x over ``gain``: coding is linear, and loses nothing.

    Args:
        space: of latent and image.
        mean: of the latents, see :class:`GaussianPrior`.
        std: likewise.
        gain: of the decoder, see :class:`medldm.inference.BoundPrior`.
        error: that the prior states.
    """

    latent = True

    def __init__(
        self, space: Space, mean: complex | Tensor = 0.3, std: float | Tensor = 0.5, *, gain: float, error: float = 0.0
    ) -> None:
        super().__init__(space, mean, std)
        self.gain, self.error = gain, error

    def encode(self, x: Tensor) -> Tensor:
        """Image -> latent."""
        return x.flip(-1) / self.gain

    def decode(self, z: Tensor) -> Tensor:
        """Latent -> image."""
        return self.gain * z.flip(-1)


class OrthonormalAutoencoder(nn.Module):
    """Blocks of ``downscale`` samples along each axis as channels, turned by an orthonormal matrix: loses nothing.

    A :class:`medldm.inference.Autoencoder` that keeps white noise white and distances as they are. Its variance is one,
    so that a prior which draws from it is found out.

    Args:
        dimensions: 2 or 3.
        downscale: samples of a block along each axis.
        channels: of the image.
        seed: of the matrix.
    """

    matrix: Tensor

    def __init__(self, dimensions: int = 2, downscale: int = 2, channels: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.downscale = downscale
        self.channels = channels
        self.latent_channels = channels * downscale**dimensions
        generator = torch.Generator().manual_seed(seed)
        square = torch.randn(self.latent_channels, self.latent_channels, generator=generator, dtype=torch.float64)
        self.register_buffer("matrix", torch.linalg.qr(square)[0].float())

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`medldm.inference.Autoencoder`."""
        n = self.dimensions
        for axis in range(n):
            x = x.unflatten(2 + 2 * axis, (-1, self.downscale))
        blocks = [2 + 2 * axis for axis in range(n)]
        x = x.permute(0, 1, *(b + 1 for b in blocks), *blocks).flatten(1, 1 + n)
        mean: Tensor = torch.einsum("ij,bj...->bi...", self.matrix.to(x), x)
        return mean, torch.zeros_like(mean)

    def decode(self, z: Tensor) -> Tensor:
        """See :class:`medldm.inference.Autoencoder`."""
        n = self.dimensions
        x: Tensor = torch.einsum("ji,bj...->bi...", self.matrix.to(z), z)
        x = x.unflatten(1, (self.channels, *(self.downscale,) * n))
        order = [axis for i in range(n) for axis in (2 + n + i, 2 + i)]
        x = x.permute(0, 1, *order)
        for axis in range(n):
            x = x.flatten(2 + axis, 3 + axis)
        return x
