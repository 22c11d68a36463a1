"""A prior asked about the mirror image at every other noise level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medldm.inference.image_edge import ImageEdge
from medldm.inference.noise import Noise
from medldm.inference.pixel_prior import check_state
from medldm.inference.prior import BoundPrior


class Mirrored(ImageEdge):
    """A pixel prior that sees the image mirrored along axes drawn anew for each noise level.

    A network that learnt from images and their mirror images ought to denoise both alike, and does not quite. Over the
    steps of a solver the part of its error that does not turn with the image cancels out, and a step costs no more than
    before (Terris et al., Equivariant plug-and-play image reconstruction, CVPR 2024, whose transform is random too).

    Args:
        inner: pixel prior of the image.
        axes: of the image (negative, from the last), each mirrored or not with equal chance.
        seed: of the draws, which depend on nothing else than the noise level to four digits: neither on batching nor
            on the step at which a run was resumed. All slices are mirrored alike.

    Raises:
        ValueError: ``inner`` is of latents, whose codes do not turn with the image.
    """

    def __init__(self, inner: BoundPrior, axes: Sequence[int], *, seed: int = 0) -> None:
        if inner.latent:
            raise ValueError("codes of a latent prior do not turn with the image")
        super().__init__(inner, inner.image)
        self.axes = tuple(axes)
        self.seed = seed

    def mirrored_along(self, sigma: float) -> list[int]:
        """The axes that run the other way at a noise level."""
        drawn = Noise(self.seed).stream(f"mirror/{sigma:.3e}").integers(0, 2, len(self.axes))
        return [axis for axis, yes in zip(self.axes, drawn, strict=True) if yes]

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        check_state(self.space, x, sigma)
        axes = [self.mirrored_along(level) for level in sigma.tolist()]
        return self._turned(self.inner.denoise(self._turned(x, axes), sigma), axes)

    def inward(self, x: Tensor) -> Tensor:
        """The image as it is: only states are mirrored, by their noise level."""
        return x

    def outward(self, x: Tensor) -> Tensor:
        """The image as it is."""
        return x

    @staticmethod
    def _turned(x: Tensor, axes: Sequence[Sequence[int]]) -> Tensor:
        return torch.stack([one.flip(*along) if along else one for one, along in zip(x, axes, strict=True)])
