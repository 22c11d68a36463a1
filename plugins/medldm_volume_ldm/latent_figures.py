"""Gain and error of an imported autoencoder, for which there are no images: measured on latents drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.inference.networks import Autoencoder

_VOLUMES, _SIDE = 2, 8
_STEP = 0.1


@torch.no_grad()
def latent_figures(autoencoder: Autoencoder, scale: float) -> tuple[float, float]:
    """``gain`` and ``error`` of :class:`medldm.priors.card.Latent`, on latent states drawn from N(0, I).

    The gain is the change of the image by a tenth of a unit of noise. The error is that of coding the decoder's own
    images, which it can represent: a lower bound of that of scans.

    Args:
        autoencoder: of volumes, in single precision on the CPU.
        scale: latent state = scale * mean of the encoder.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (_VOLUMES, autoencoder.latent_channels, *(_SIDE,) * 3)
    state, noise = (torch.randn(shape, generator=generator) for _ in range(2))
    image, moved = (autoencoder.decode(z / scale) for z in (state, state + _STEP * noise))
    again = autoencoder.decode(autoencoder.moments(image)[0])
    return _rms(moved - image) / (_STEP * _rms(noise)), _rms(again - image)


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
