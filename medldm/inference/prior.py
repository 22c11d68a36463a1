"""What a diffusion prior is. Its one currency is the denoiser."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from medldm.operators import Space


@runtime_checkable
class DiffusionPrior(Protocol):
    """A prior known through its denoiser; no solver sees epsilon, t, beta or alpha-bar.

    One whose ``sigma_max`` is 0 is a regressor, see :func:`is_regressor`.
    """

    space: Space
    sigma_min: float
    sigma_max: float

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """``E[x0 | x0 + sigma n = x]`` for ``x`` = (batch, *space), ``sigma`` = (batch,)."""
        ...

    def encode(self, x: Tensor) -> Tensor:
        """Image -> state, the mean; the identity for a pixel prior."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """State -> image; the identity for a pixel prior."""
        ...


def is_regressor(prior: DiffusionPrior) -> bool:
    """Whether it knows no noise levels: a network that turns the start image ``x`` into the image, ``denoise(x, 0)``.

    It stands where a diffusion prior stands, so that slices, padding and phases are its too, and is none.
    """
    return prior.sigma_max == 0


@runtime_checkable
class BoundPrior(DiffusionPrior, Protocol):
    """A prior bound to the size of an image: what wrappers and solvers may ask of it besides.

    Attributes:
        image: the space that ``decode`` maps to; equal to ``space`` for a pixel prior.
        latent: whether the state is a latent, so that ``encode`` and ``decode`` are networks.
        gain: root mean square change of the image for a unit change of the state; 1 for a pixel prior.
        error: root mean square of ``decode(encode(x)) - x``, in the image's units; 0 for a pixel prior.
        decode_gradient: whether ``decode`` can be differentiated.
    """

    image: Space
    latent: bool
    gain: float
    error: float
    decode_gradient: bool
