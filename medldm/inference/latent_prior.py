"""A diffusion model on the latents of an autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from medldm.inference.conditioning import for_batch
from medldm.inference.denoiser import Denoiser, weights_dtype
from medldm.inference.negotiation import DeclaresDecodeGradient
from medldm.inference.networks import Autoencoder
from medldm.inference.padding import Padding
from medldm.inference.pixel_prior import SPATIAL, check_state
from medldm.inference.precision import bfloat16
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
        at_most: images that are larger along an axis are denoised in tiles of this size, fading into one another.
        images_at_once: images that the autoencoder takes at a time; None takes the batch.
        tile: largest size, in samples of the image, that the autoencoder takes as a whole, larger ones in tiles; None
            leaves it at ``at_most``.
        autocast: run the autoencoder in bfloat16 where the device has it. Off, because its rounding, 0.4 % of each
            value, does not vanish with the noise.
    """

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
        at_most: int | None = None,
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
        networks = cast(Autoencoder, autoencoder)
        self._networks = networks
        self.decode_gradient = not isinstance(networks, DeclaresDecodeGradient) or networks.decode_gradient
        down = self._networks.downscale
        multiple = math.lcm(multiple, down)
        self._padding = Padding.to_fit(shape, multiple=multiple, at_least=at_least)
        axes = SPATIAL[len(shape)]
        self._single = image_channels == 1
        self.image = Space(axes, shape) if self._single else Space(("channel", *axes), (image_channels, *shape))
        inner = tuple(n // down for n in self._padding.padded)
        self.space = Space(("channel", *axes), (self._networks.latent_channels, *inner))
        self._denoised = Tiling.within(inner, None if at_most is None else at_most // down, multiple // down)
        largest = at_most if tile is None else tile
        self._coded = Tiling.within(inner, None if largest is None else largest // down, multiple // down)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        check_state(self.space, x, sigma)
        told = for_batch(self.condition, len(x))
        if self._denoised is None:
            clean: Tensor = self.denoiser(x, sigma, told)
            # as of all that priors return: the order in memory that a saved state has too
            return clean.contiguous()
        return tiled(lambda tile: self.denoiser(tile, sigma, told), x, self._denoised)

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
        return (image.squeeze(1) if self._single else image).contiguous()

    def _in_parts(self, network: Callable[[Tensor], Tensor], x: Tensor, down: int) -> Tensor:
        """A few images at a time, each in tiles; in the precision of the weights."""
        weights = weights_dtype(self.autoencoder, x.dtype)
        tiling = None if self._coded is None else self._coded.scaled(down)

        def one(part: Tensor) -> Tensor:
            with bfloat16(x.device, self.autocast):
                return network(part.to(weights)).to(x.dtype)

        parts = torch.split(x, self.images_at_once or len(x))
        done = [one(part) if tiling is None else tiled(one, part, tiling) for part in parts]
        return (done[0] if len(done) == 1 else torch.cat(done)).contiguous()
