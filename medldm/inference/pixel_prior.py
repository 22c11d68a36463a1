"""A network on images as a prior: channel axis, size and facts are settled here."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medldm.inference.conditioning import for_batch
from medldm.inference.denoiser import Denoiser
from medldm.inference.padding import Padding
from medldm.inference.tiling import Tiling, tiled
from medldm.operators import Space

SPATIAL = {2: ("y", "x"), 3: ("z", "y", "x")}


class PixelPrior(nn.Module):
    """A :class:`medldm.inference.BoundPrior` whose state is the image: (y, x) or (z, y, x), real.

    Args:
        denoiser: of (batch, channel, *spatial).
        shape: of the image, two or three sizes.
        channels: of the network. One has no axis in the space; more come first, under the name ``channel``.
        condition: (size,) what the network is told, or (batch, size), one vector for each image of every batch; None
            tells nothing.
        sigma_min: smallest noise level of use.
        sigma_max: largest.
        multiple: sizes are padded to multiples of this.
        at_least: and to this.
        at_most: images that are larger along an axis are denoised in tiles of this size, fading into one another.
    """

    decode_gradient = True
    latent = False
    gain = 1.0
    error = 0.0
    condition: Tensor

    def __init__(
        self,
        denoiser: Denoiser,
        shape: tuple[int, ...],
        *,
        channels: int = 1,
        condition: Tensor | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        multiple: int = 1,
        at_least: int = 1,
        at_most: int | None = None,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.sigma_min = denoiser.parametrization.sigma_min if sigma_min is None else sigma_min
        self.sigma_max = denoiser.parametrization.sigma_max if sigma_max is None else sigma_max
        self.register_buffer("condition", torch.zeros(0) if condition is None else condition, persistent=False)
        axes = SPATIAL[len(shape)]
        self._single = channels == 1
        self.space = Space(axes, shape) if self._single else Space(("channel", *axes), (channels, *shape))
        self.image = self.space
        self._padding = Padding.to_fit(shape, multiple=multiple, at_least=at_least)
        self._tiling = Tiling.within(self._padding.padded, at_most, multiple)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        check_state(self.space, x, sigma)
        told = for_batch(self.condition, len(x))
        padded = self._padding.pad(x.unsqueeze(1) if self._single else x)
        if self._tiling is None:
            clean: Tensor = self.denoiser(padded, sigma, told)
        else:
            clean = tiled(lambda tile: self.denoiser(tile, sigma, told), padded, self._tiling)
        cropped = self._padding.crop(clean)
        return (cropped.squeeze(1) if self._single else cropped).contiguous()

    def encode(self, x: Tensor) -> Tensor:
        """``x``."""
        return x

    def decode(self, z: Tensor) -> Tensor:
        """``z``."""
        return z


def check_state(space: Space, x: Tensor, sigma: Tensor) -> None:
    """Raise ``ValueError`` unless ``x`` is (batch, *space) and ``sigma`` is (batch,)."""
    space.check(x, "denoise")
    if x.ndim != len(space.shape) + 1 or sigma.shape != x.shape[:1]:
        raise ValueError(f"denoise expects (batch, {space}) and (batch,), got {tuple(x.shape)}, {tuple(sigma.shape)}")
