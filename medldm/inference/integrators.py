"""From one noise level to the next: what a solver's loop does between two calls of the denoiser.

Without new noise the state follows the probability flow ``dx/dsigma = (x - D(x, sigma)) / sigma`` (Karras et al. 2022,
equation 1). Each integrator here replaces the denoised image ``D`` by one that remembers the step before, and
:func:`advance` then goes along the straight line through it, so that any loop takes any of them::

    extrapolate = integrator(self.integrator, self.zeta)
    memory = state["memory"] if state else extrapolate.nothing(x)
    ...
    v = prior.denoise(x, sigma)
    target, memory = extrapolate(levels, k, x, v, memory)
    x = advance(x, target, levels[k], levels[k + 1], self.zeta, fresh, shift=u - v)
    yield Step(..., {"x": x, "memory": memory, "index": torch.tensor(k)})

An extrapolation assumes that the last step lies on the same trajectory. New noise leaves it: extrapolating the
direction over it multiplies the noise from step to step. So what is extrapolated is scaled by ``1 - zeta``, the share
that is kept, and with all noise new every integrator is ``ddim``. Corrections by the data leave the trajectory too, and
where they are strong nothing is gained over ``ddim``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

IntegratorName = Literal["ddim", "dpm++2m", "gradient-estimation"]


class Integrator(Protocol):
    """The image that a step aims at, from the denoised one and a memory of the step before."""

    def nothing(self, x: Tensor) -> Tensor:
        """The memory before the first step: empty."""
        ...

    def __call__(
        self, levels: Sequence[float], k: int, x: Tensor, clean: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The image to aim at and the memory for the next step, a tensor for :attr:`medldm.inference.Step.state`.

        Args:
            levels: decreasing, the last one 0.
            k: of the step from ``levels[k]`` to ``levels[k + 1]``.
            x: the state at ``levels[k]``.
            clean: the denoised state.
            memory: of the last step.
        """
        ...


class _Forgetful:
    """An empty memory, which a file of tensors can hold, stands for none."""

    def nothing(self, x: Tensor) -> Tensor:
        """The memory before the first step."""
        return x.new_empty(0)


@dataclass(frozen=True)
class DDIM(_Forgetful):
    """Euler's method, order 1 (Song et al., ICLR 2021; in this variable equal to DDIM). It remembers nothing."""

    def __call__(
        self, levels: Sequence[float], k: int, x: Tensor, clean: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Integrator`."""
        return clean, memory


@dataclass(frozen=True)
class DPMpp2M(_Forgetful):
    """DPM-Solver++ (2M), order 2 (Lu et al. 2022, algorithm 2), in ``lambda = -log sigma``.

    The last step, to zero, is of first order, as its logarithm is not finite; so is one from or to a level that is
    there twice.

    Attributes:
        kept: share of the extrapolation; 1 is the paper's.
    """

    kept: float = 1.0

    def __call__(
        self, levels: Sequence[float], k: int, x: Tensor, clean: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Integrator`."""
        if memory.numel() == 0 or levels[k + 1] <= 0:
            return clean, clean
        # h_i = lambda_i - lambda_i-1, r_i = h_i-1 / h_i, D_i = (1 + 1 / (2 r_i)) x_i-1 - 1 / (2 r_i) x_i-2
        before, now = math.log(levels[k - 1] / levels[k]), math.log(levels[k] / levels[k + 1])
        if before == 0 or now == 0:
            return clean, clean
        return clean + self.kept * now / (2 * before) * (clean - memory), clean


@dataclass(frozen=True)
class GradientEstimation(_Forgetful):
    """``eps_bar = gamma eps_t + (1 - gamma) eps_t+1`` (Permenter and Yuan, ICML 2024, algorithm 2).

    Of order 1 for ``gamma = 2`` as well, with an error of the other sign than DDIM's on even steps; its gain is in few
    steps, where the estimated gradient errs more than the step does. Of order 2 on even steps for ``gamma = 1.5``.

    Attributes:
        gamma: of the new gradient; 2 is the paper's choice.
        kept: share of the extrapolation; 1 is the paper's.
    """

    gamma: float = 2.0
    kept: float = 1.0

    def __call__(
        self, levels: Sequence[float], k: int, x: Tensor, clean: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Integrator`."""
        gradient = (x - clean) / levels[k]
        # At the last step the direction no longer matters: the denoised image is where it ends.
        if memory.numel() == 0 or levels[k + 1] <= 0:
            return clean, gradient
        return clean - self.kept * (self.gamma - 1) * levels[k] * (gradient - memory), gradient


def integrator(name: IntegratorName, zeta: float = 0.0) -> Integrator:
    """The integrator of that name.

    Args:
        name: of the method.
        zeta: share of the noise that the loop draws anew, see :func:`advance`.
    """
    made: dict[IntegratorName, Integrator] = {
        "ddim": DDIM(),
        "dpm++2m": DPMpp2M(kept=1 - zeta),
        "gradient-estimation": GradientEstimation(kept=1 - zeta),
    }
    return made[name]


def advance(
    x: Tensor,
    target: Tensor,
    sigma: float,
    after: float,
    zeta: float = 0.0,
    fresh: Tensor | None = None,
    *,
    shift: Tensor | None = None,
) -> Tensor:
    """The state at the next level: ``target + shift + after (sqrt(1 - zeta) (x - target) / sigma + sqrt(zeta) fresh)``.

    Args:
        x: state at ``sigma``.
        target: image that the step aims at, an :class:`Integrator`'s.
        sigma: level that ``x`` is at, above zero.
        after: next level.
        zeta: share of the variance that is drawn anew; ``eta`` of DDIM is related to it by :func:`share_of_eta`.
        fresh: noise of unit standard deviation per real component; not needed where ``zeta`` or ``after`` is 0.
        shift: correction of the image by the data that leaves the direction of the noise as it is (DDS); a solver
            whose direction is that of the corrected image (DiffPIR) aims at that image instead.

    Raises:
        ValueError: new noise is asked for and none is given.
    """
    image = target if shift is None else target + shift
    if after <= 0:
        return image
    image = image + (math.sqrt(1 - zeta) * after / sigma) * (x - target)
    if zeta == 0:
        return image
    if fresh is None:
        raise ValueError(f"a share of {zeta} of the noise is drawn anew, and no noise is given")
    return image + (math.sqrt(zeta) * after) * fresh


def share_of_eta(eta: float, sigma: float, after: float) -> float:
    """``zeta`` of DDIM's ``eta`` (Song et al., ICLR 2021, equation 16): 1 is ancestral sampling, 0 deterministic."""
    return eta**2 * (1 - (after / sigma) ** 2)
