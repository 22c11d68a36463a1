"""A volume seen by a prior of slices in another plane at every noise level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from medldm.inference.noise import Noise
from medldm.inference.pixel_prior import check_state
from medldm.inference.prior import BoundPrior


class AlternatingPlanes(nn.Module):
    """A :class:`medldm.inference.BoundPrior` of a volume made of priors of its axial, coronal and sagittal slices.

    What a network of slices makes up differs from slice to slice; seen across, it is noise, and the next step in
    another plane takes it for such. Over the steps of a solver the slices come to agree and their errors cancel out,
    and a step costs no more than in one plane (perpendicular priors by turns: Lee et al., Improving 3D Imaging with
    Pre-Trained Perpendicular 2D Diffusion Models, ICCV 2023; there two networks, here one that knows the planes).

    Args:
        planes: pixel priors of one image, each of its slices along another axis.
        seed: of the draws, which depend on nothing else than the noise level to four digits, as those of
            :class:`medldm.inference.Mirrored`.

    Raises:
        ValueError: there is none, one is of latents, or they are of different images.
    """

    def __init__(self, planes: Sequence[BoundPrior], *, seed: int = 0) -> None:
        super().__init__()
        if not planes or any(plane.latent for plane in planes):
            raise ValueError("at least one prior, and none of latents: the codes of slices stay in their plane")
        first = planes[0]
        if any(plane.image != first.image for plane in planes):
            raise ValueError("the planes are those of one image")
        self.planes = nn.ModuleList(cast(Sequence[nn.Module], planes))
        self.seed = seed
        self.space = self.image = first.image
        self.latent = False
        self.sigma_min = max(plane.sigma_min for plane in planes)
        self.sigma_max = min(plane.sigma_max for plane in planes)
        self.gain, self.error, self.decode_gradient = first.gain, first.error, first.decode_gradient

    def plane_at(self, sigma: float) -> int:
        """Which of the planes is seen at a noise level."""
        return int(Noise(self.seed).stream(f"plane/{sigma:.3e}").integers(len(self.planes)))

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        check_state(self.space, x, sigma)
        chosen = torch.tensor([self.plane_at(level) for level in sigma.tolist()], device=x.device)
        parts = torch.empty_like(x)
        for k in chosen.unique().tolist():
            parts[chosen == k] = cast(BoundPrior, self.planes[k]).denoise(x[chosen == k], sigma[chosen == k])
        return parts

    def encode(self, x: Tensor) -> Tensor:
        """The image itself."""
        return x

    def decode(self, z: Tensor) -> Tensor:
        """The image itself."""
        return z
