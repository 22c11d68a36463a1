"""A diffusion model on the latents of an autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from medldm.inference.conditioning import for_batch
from medldm.inference.denoiser import Denoiser, weights_dtype
from medldm.inference.networks import Autoencoder
from medldm.inference.padding import Padding
from medldm.inference.pixel_prior import SPATIAL, check_state
from medldm.inference.tiling import Tiling, tiled
from medldm.operators import Space


class LatentPrior(nn.Module):
    """A :class:`medldm.inference.BoundPrior` whose state is ``scale * (mean - shift)``, (channel, y, x) or with z.

    ``mean`` is that of the encoder's Gaussian, which is never sampled: a draw per slice would make slices flicker. The
    image's size is padded before encoding and cropped after decoding.

    Args:
        denoiser: of states (batch, channel, *latent spatial).
        autoencoder: a :class:`medldm.inference.Autoencoder` that is a module.
        shape: of the image, two or three sizes.
        image_channels: of the autoencoder's image. One has no axis in the image's space.
        scale: of the state.
        shift: of the state.
        gain: see :class:`medldm.inference.BoundPrior`; solvers weigh a latent's data with
            ``lambda / (gain^2 sigma^2 + error^2)``.
        error: see there.
        condition: (size,) or (batch, size) what the denoiser is told; None tells nothing.
        sigma_min: smallest noise level of use, in units of the state.
        sigma_max: largest.
        multiple: the image's sizes are padded to multiples of this and of the autoencoder's downscale.
        at_least: and to this.
        images_at_once: images that the autoencoder takes at a time; None takes the batch.
        tile: largest size, in samples of the image, that the autoencoder takes as a whole; larger images are tiled.
        autocast: run the autoencoder in bfloat16 on CUDA. Off, because its rounding, 0.4 % of each value, does not
            vanish with the noise.
    """

    decode_gradient = True
    latent = True
    condition: Tensor

    def __init__(
        self,
        denoiser: Denoiser,
        autoencoder: nn.Module,
        shape: tuple[int, ...],
        *,
        image_channels: int = 1,
        scale: float = 1.0,
        shift: float = 0.0,
        gain: float = 1.0,
        error: float = 0.0,
        condition: Tensor | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        multiple: int = 1,
        at_least: int = 1,
        images_at_once: int | None = None,
        tile: int | None = None,
        autocast: bool = False,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.autoencoder = autoencoder
        self.scale, self.shift, self.gain, self.error = scale, shift, gain, error
        self.sigma_min = denoiser.parametrization.sigma_min if sigma_min is None else sigma_min
        self.sigma_max = denoiser.parametrization.sigma_max if sigma_max is None else sigma_max
        self.images_at_once = images_at_once
        self.autocast = autocast
        self.register_buffer("condition", torch.zeros(0) if condition is None else condition, persistent=False)
        self._networks = cast(Autoencoder, autoencoder)
        down = self._networks.downscale
        multiple = math.lcm(multiple, down)
        self._padding = Padding.to_fit(shape, multiple=multiple, at_least=at_least)
        axes = SPATIAL[len(shape)]
        self._single = image_channels == 1
        self.image = Space(axes, shape) if self._single else Space(("channel", *axes), (image_channels, *shape))
        inner = tuple(n // down for n in self._padding.padded)
        self.space = Space(("channel", *axes), (self._networks.latent_channels, *inner))
        self._tiling = _latent_tiling(inner, multiple // down, down, tile)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        check_state(self.space, x, sigma)
        clean: Tensor = self.denoiser(x, sigma, for_batch(self.condition, len(x)))
        return clean

    def encode(self, x: Tensor) -> Tensor:
        """(batch, *image) -> (batch, *space), the mean."""
        self.image.check(x, "encode")
        padded = self._padding.pad(x.unsqueeze(1) if self._single else x)
        mean = self._in_parts(lambda image: self._networks.moments(image)[0], padded, self._networks.downscale)
        return self.scale * (mean - self.shift)

    def decode(self, z: Tensor) -> Tensor:
        """(batch, *space) -> (batch, *image)."""
        self.space.check(z, "decode")
        image = self._padding.crop(self._in_parts(self._networks.decode, z / self.scale + self.shift, 1))
        return image.squeeze(1) if self._single else image

    def _in_parts(self, network: Callable[[Tensor], Tensor], x: Tensor, down: int) -> Tensor:
        """A few images at a time, each in tiles; in the precision of the weights."""
        weights = weights_dtype(self.autoencoder, x.dtype)
        tiling = self._tiling

        def one(part: Tensor) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast and x.device.type == "cuda"):
                return network(part.to(weights)).to(x.dtype)

        def whole(part: Tensor) -> Tensor:
            if tiling is None:
                return one(part)
            scaled = Tiling(
                tuple(n * down for n in tiling.tile), tiling.halo * down, tiling.blend * down, tiling.multiple * down
            )
            return tiled(one, part, scaled)

        at_once = self.images_at_once or len(x)
        if at_once >= len(x):
            return whole(x)
        return torch.cat([whole(part) for part in torch.split(x, at_once)])


def _latent_tiling(latent: tuple[int, ...], multiple: int, down: int, tile: int | None) -> Tiling | None:
    """Tiles in latent samples, a third of them shared with each neighbour; None where the image is small enough."""
    if tile is None or max(latent) * down <= tile:
        return None
    largest = max(tile // (multiple * down), 1) * multiple
    return Tiling(tuple(min(n, largest) for n in latent), largest // 8, largest // 8, multiple)
