"""What stands between a solver's image and the one that a prior knows: an invertible map at the prior's edge."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from medldm.inference.pixel_prior import check_state
from medldm.inference.prior import BoundPrior
from medldm.operators import Space


class ImageEdge(nn.Module, ABC):
    """A :class:`medldm.inference.BoundPrior` of one image by way of another.

    The state of a pixel prior is an image and passes the edge on its way into and out of ``denoise``. The state of a
    latent prior is left alone: there the edge lies before ``encode`` and behind ``decode``.

    Args:
        inner: prior of the other image.
        image: the solver's image.
    """

    def __init__(self, inner: BoundPrior, image: Space) -> None:
        super().__init__()
        self.inner = inner
        self.image = image
        self.latent = inner.latent
        self.space = inner.space if inner.latent else image
        self.sigma_min, self.sigma_max = inner.sigma_min, inner.sigma_max
        self.gain, self.error = inner.gain, inner.error
        self.decode_gradient = inner.decode_gradient

    @abstractmethod
    def inward(self, x: Tensor) -> Tensor:
        """(batch, *image) -> (batch, *inner.image)."""

    @abstractmethod
    def outward(self, x: Tensor) -> Tensor:
        """(batch, *inner.image) -> (batch, *image)."""

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        check_state(self.space, x, sigma)
        if self.latent:
            return self.inner.denoise(x, sigma)
        return self.outward(self.inner.denoise(self.inward(x), sigma))

    def encode(self, x: Tensor) -> Tensor:
        """(batch, *image) -> (batch, *space)."""
        self.image.check(x, "encode")
        return self.inner.encode(self.inward(x)) if self.latent else x

    def decode(self, z: Tensor) -> Tensor:
        """(batch, *space) -> (batch, *image)."""
        return self.outward(self.inner.decode(z)) if self.latent else z
