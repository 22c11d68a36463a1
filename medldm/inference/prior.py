"""What a diffusion prior is. Its one currency is the denoiser."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from medldm.operators import Space


@runtime_checkable
class DiffusionPrior(Protocol):
    """A prior known through its denoiser; no solver sees epsilon, t, beta or alpha-bar."""

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
