"""A posed problem as deepinv sees one: images from 0 to 1, a linear physics of norm 1 with white noise, a denoiser.

Slices are deepinv's batch. Its samplers work on real images and clip what a network gives to the range from 0 to 1, so
complex images come in one of two ways, see :class:`ComplexState` and :class:`MagnitudeState`; for real ones see
:class:`RealState`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from deepinv.models import Denoiser
from deepinv.physics import GaussianNoise, LinearPhysics
from torch import Tensor

from medldm.inference import Likelihood
from medldm.operators import LinearOperator


@dataclass(frozen=True)
class ComplexState:
    """``x = reach ((2 a - 1) + i (2 b - 1))``, a and b two channels from 0 to 1: the state that medldm's solvers have.

    Attributes:
        reach: largest magnitude, in the prior's unit.
    """

    reach: float

    @property
    def unit(self) -> float:
        """Of the state, in the prior's."""
        return 2 * self.reach

    def linear(self, u: Tensor) -> Tensor:
        """(z, 2, y, x) -> (z, y, x) complex, without the offset."""
        return self.unit * torch.complex(u[:, 0], u[:, 1])

    def adjoint(self, x: Tensor) -> Tensor:
        """Of ``linear``, in the real inner product."""
        return self.unit * torch.stack((x.real, x.imag), 1)

    def offset(self, like: Tensor) -> Tensor:
        """Image of the state zero."""
        return torch.full_like(like, complex(-self.reach, -self.reach))

    def state(self, x: Tensor) -> Tensor:
        """Of a complex image."""
        return self.adjoint(x - self.offset(x)) / self.unit**2


@dataclass(frozen=True, eq=False)
class MagnitudeState:
    """``x = reach phase a``, a one channel from 0 to 1: nothing may be in quadrature to the frozen phase.

    Attributes:
        reach: largest magnitude, in the prior's unit.
        phase: (z, y, x), of magnitude 1, or 0 where nothing is measured.
    """

    reach: float
    phase: Tensor

    @property
    def unit(self) -> float:
        """Of the state, in the prior's."""
        return self.reach

    def linear(self, u: Tensor) -> Tensor:
        """(z, 1, y, x) -> (z, y, x) complex."""
        return self.unit * u[:, 0] * self.phase

    def adjoint(self, x: Tensor) -> Tensor:
        """Of ``linear``, in the real inner product."""
        return self.unit * (self.phase.conj() * x).real[:, None]

    def offset(self, like: Tensor) -> Tensor:
        """Image of the state zero."""
        return torch.zeros_like(like)

    def state(self, x: Tensor) -> Tensor:
        """Of a complex image; what is in quadrature is lost."""
        return self.adjoint(x) / self.unit**2


@dataclass(frozen=True)
class RealState:
    """``x = low + (high - low) a``, a one channel from 0 to 1.

    Attributes:
        low: smallest value of the image, in the prior's unit.
        high: largest.
    """

    low: float
    high: float

    @property
    def unit(self) -> float:
        """Of the state, in the prior's."""
        return self.high - self.low

    def linear(self, u: Tensor) -> Tensor:
        """(z, 1, y, x) -> (z, y, x), without the offset."""
        return self.unit * u[:, 0]

    def adjoint(self, x: Tensor) -> Tensor:
        """Of ``linear``."""
        return self.unit * x[:, None]

    def offset(self, like: Tensor) -> Tensor:
        """Image of the state zero."""
        return torch.full_like(like, self.low)

    def state(self, x: Tensor) -> Tensor:
        """Of a real image."""
        return self.adjoint(x - self.offset(x)) / self.unit**2


State = ComplexState | MagnitudeState | RealState


class WhitePhysics(LinearPhysics):
    """``W^(1/2) A`` on a state, over its norm; complex measurements as pairs of real numbers.

    Args:
        likelihood: of images (1, z, y, x), slice by slice.
        state: how deepinv sees an image.
        options: of ``LinearPhysics``: ``max_iter`` and ``tol`` of its proximal step.
    """

    def __init__(self, likelihood: Likelihood, state: State, **options: object) -> None:
        super().__init__(**options)
        if likelihood.operator.codomain.axes[0] != "z":
            raise ValueError(f"images measured slice by slice, not by {likelihood.operator.name}")
        self.operator: LinearOperator = likelihood.operator
        self.state = state
        self.root = likelihood.weights.sqrt()
        self.factor = 1.0
        image = likelihood.operator.H(likelihood.measurement)
        zeros = state.state(torch.zeros_like(image))
        self.factor = 1 / power_norm(self, zeros.shape)
        self.noise_model = GaussianNoise(sigma=self.factor)
        shifted = likelihood.measurement - self.operator(state.offset(image))
        self.y = _as_real(self.factor * self.root * shifted)

    def A(self, x: Tensor, **_: object) -> Tensor:  # noqa: N802 - the name is deepinv's
        """(z, channel, y, x) -> (z, coil, y, x, 2) or (z, view, bin)."""
        image = self.state.linear(x.float())
        return _as_real(self.factor * self.root * self.operator(image))

    def A_adjoint(self, y: Tensor, **_: object) -> Tensor:  # noqa: N802
        """The reverse."""
        y = y.float().contiguous()
        y = torch.view_as_complex(y) if self.operator.codomain.is_complex else y
        return self.state.adjoint(self.operator.H(self.factor * self.root * y))


def _as_real(y: Tensor) -> Tensor:
    return torch.view_as_real(y.contiguous()) if y.is_complex() else y


def power_norm(physics: LinearPhysics, shape: tuple[int, ...], rounds: int = 20) -> float:
    """The largest singular value, by the power method."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for _ in range(rounds):
        x = physics.A_adjoint_A(x / x.norm())
    return float(x.norm().sqrt())


class PriorDenoiser(Denoiser):
    """A medldm prior on a state.

    Args:
        prior: of complex images (1, z, y, x), or what counts its calls.
        state: how deepinv sees an image.

    Attributes:
        last: what was denoised last.
    """

    last: Tensor

    def __init__(self, prior: object, state: State) -> None:
        super().__init__()
        self._prior = (prior,)  # no submodule
        self.state = state

    def forward(self, x: Tensor, sigma: float | Tensor, **_: object) -> Tensor:
        """Denoise.

        deepinv begins at more noise than our networks know. There the image is scaled until its noise is the largest
        known: what is left of the signal tells next to nothing, and the network sees the input that it has at its
        largest level.
        """
        (prior,) = self._prior
        level = float(sigma) * self.state.unit
        offset = self.state.offset(torch.zeros_like(self.state.linear(x)))
        image = self.state.linear(x.float()) + offset
        known = min(max(level, prior.sigma_min), prior.sigma_max)
        clean = prior.denoise((image * min(1.0, known / level))[None], torch.tensor([known]))[0]
        denoised = self.state.adjoint(clean - offset) / self.state.unit**2
        self.last = denoised.detach()
        return denoised
