"""Gain and error of an autoencoder for which there are no images: measured on its own."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.inference.networks import Autoencoder

MEASURED = "measured on latents drawn from N(0, I), for want of images; on images the error is larger"
_STATES, _STEP = 2, 0.1
# Samples along each axis of the latent, by its dimensions: a slice or a cube that a processor decodes in seconds.
_SIDE = {2: 16, 3: 8}


@torch.no_grad()
def latent_figures(autoencoder: Autoencoder, dimensions: int, scale: float, shift: float = 0.0) -> tuple[float, float]:
    """``gain`` and ``error`` of :class:`medldm.priors.card.Latent`, on latent states drawn from N(0, I).

    The gain is the change of the image by a tenth of a unit of noise; the error is that of decoding, encoding and
    decoding again. That error is a lower bound: images of the decoder are those that it can represent.

    Args:
        autoencoder: in evaluation mode, in single precision on the CPU.
        dimensions: 2 for slices, 3 for volumes.
        scale: latent state = scale * (mean of the encoder - shift).
        shift: subtracted from the mean.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (_STATES, autoencoder.latent_channels, *(_SIDE[dimensions],) * dimensions)
    state, noise = (torch.randn(shape, generator=generator) for _ in range(2))
    image, moved = (autoencoder.decode(z / scale + shift) for z in (state, state + _STEP * noise))
    again = autoencoder.decode(autoencoder.moments(image)[0])
    return _rms(moved - image) / (_STEP * _rms(noise)), _rms(again - image)


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
