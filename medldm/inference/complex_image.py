"""Complex images for networks of real ones.

The diffusion state of a pixel prior is complex here, and its noise has the standard deviation ``sigma`` per real
component, so each of the real images below carries noise of exactly that ``sigma``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.inference.image_edge import ImageEdge
from medldm.inference.prior import BoundPrior
from medldm.operators import Space


class ComplexAsChannels(ImageEdge):
    """Real and imaginary part as channels of a network that was trained on both.

    Args:
        inner: prior of real images (channel, *spatial) with an even number of channels: the real parts of one image
            (two channels) or of neighbouring slices, then their imaginary parts.
    """

    def __init__(self, inner: BoundPrior) -> None:
        space = inner.image
        if space.is_complex or space.axes[0] != "channel" or space.shape[0] % 2:
            raise ValueError(f"real and imaginary part need an even number of channels, not {space}")
        half = space.shape[0] // 2
        self._single = half == 1
        axes, shape = (space.axes, space.shape) if half > 1 else (space.axes[1:], space.shape[1:])
        image = Space(axes, (half, *shape[1:]) if half > 1 else shape, torch.complex64)
        super().__init__(inner, image)

    def inward(self, x: Tensor) -> Tensor:
        """Complex (batch, *spatial) -> real (batch, 2, *spatial)."""
        return torch.stack((x.real, x.imag), 1) if self._single else torch.cat((x.real, x.imag), 1)

    def outward(self, x: Tensor) -> Tensor:
        """Real (batch, 2, *spatial) -> complex (batch, *spatial)."""
        real, imaginary = x.chunk(2, 1)
        both = torch.complex(real, imaginary)
        return both.squeeze(1) if self._single else both


class PhaseFrozen(ImageEdge):
    """A complex image of known phase for a prior of magnitudes: ``denoise(x) = phase max(D(Re(conj(phase) x)), 0)``.

    With ``r -> phase r`` from real to complex images, ``x -> Re(conj(phase) x)`` is its exact adjoint in the real inner
    product, and its left inverse. Where the phase is 0 so is the image: nothing is measured there, and a prior alone
    would fill it with what it makes up.

    What is in quadrature to the phase is noise to this prior, and removed, unless the phase is said to be uncertain:
    then it is Gaussian with a standard deviation ``t``, and its denoiser ``t^2 / (t^2 + sigma^2)`` of it.

    Args:
        inner: prior of real magnitudes; its image has the shape of ``phase``.
        phase: (z, y, x) complex numbers of magnitude 1, or 0 where the measurement sees nothing.
        zero: what the magnitude zero is to the prior; -1 where its images go from -1 to 1.
        non_negative: whether negative results of the inner prior become zero. A magnitude has none, so no mean of
            magnitudes has; the gradient is zero there.
        quadrature: ``t`` above, in the prior's unit; of a pixel prior only, since latents know magnitudes alone.

    Raises:
        ValueError: ``phase`` has another shape than the image, or magnitudes other than 1 and 0; or ``quadrature`` is
            negative, or given for a latent prior.
    """

    parts: Tensor

    def __init__(
        self,
        inner: BoundPrior,
        phase: Tensor,
        *,
        zero: float = 0.0,
        non_negative: bool = True,
        quadrature: float = 0.0,
    ) -> None:
        space = inner.image
        if tuple(phase.shape) != space.shape or space.is_complex or not phase.is_complex():
            raise ValueError(f"the phase of {space} is complex and of its shape, not {tuple(phase.shape)}")
        if not bool((((phase.abs() - 1).abs() < 1e-3) | (phase == 0)).all()):
            raise ValueError("the phase is given by complex numbers of magnitude 1, or 0 where there is none")
        if quadrature < 0 or (quadrature > 0 and inner.latent):
            raise ValueError("what is in quadrature has a standard deviation, and no place in a latent")
        super().__init__(inner, Space(space.axes, space.shape, torch.complex64, space.spacing))
        self.quadrature = quadrature
        self.zero = zero
        self.non_negative = non_negative
        # As pairs of real numbers: a module that moves to another real dtype would lose imaginary parts.
        self.register_buffer("parts", torch.view_as_real(phase.resolve_conj()).clone(), persistent=False)

    @property
    def phase(self) -> Tensor:
        """(z, y, x) complex."""
        return torch.view_as_complex(self.parts)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        along = super().denoise(x, sigma)
        if self.quadrature == 0:
            return along
        phase = self.phase.to(along.dtype)
        kept = self.quadrature**2 / (self.quadrature**2 + sigma**2)
        across = (phase.conj() * x).imag * kept.reshape(-1, *(1,) * (x.ndim - 1))
        return along + 1j * phase * across

    def inward(self, x: Tensor) -> Tensor:
        """``Re(conj(phase) x)``."""
        return x.real * self.parts[..., 0].to(x.real.dtype) + x.imag * self.parts[..., 1].to(x.real.dtype)

    def outward(self, x: Tensor) -> Tensor:
        """``phase max(x, 0)``."""
        magnitude = x.clamp_min(self.zero) if self.non_negative else x
        return magnitude * self.phase.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)
