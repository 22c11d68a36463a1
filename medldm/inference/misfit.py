"""How well an image explains its measurement, slice by slice."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from medldm.inference.capabilities import HasPerturbation, HasSurrogate
from medldm.inference.likelihood import Likelihood
from medldm.inference.noise import Noise

# Draws for the expectation where slices are coupled: a slice of 100 x 100 voxels has it within a per cent or two.
_DRAWS = 4


@runtime_checkable
class HasMisfit(Protocol):
    """A likelihood that can tell the parts of its chi."""

    @property
    def components(self) -> Tensor:
        """Degrees of freedom of each measured sample, broadcastable to the measurement; zero where none was taken."""
        ...

    def misfit(self, u: Tensor) -> Tensor:
        """Squared weighted residual of each sample, (*batch, *codomain); its mean at the truth is ``components``."""
        ...


def slice_chi(likelihood: Likelihood, u: Tensor, noise: Noise) -> Tensor | None:
    """``chi`` of each slice: about 1 at the true image, NaN for a slice without measured samples.

    Where the measurement is one slice after another (first axis ``z``), the squared weighted residual of a slice over
    its own degrees of freedom. Where the physics couples slices no residual belongs to one, and the residual is taken
    back to the image: ``|r_z|^2 / E|r_z|^2`` with ``r = A^H W (A u - y)``, whose covariance at the true image is
    ``A^H W A``; the expectation from draws of that.

    Args:
        likelihood: of ``u``.
        u: (sample, z, y, x).
        noise: of the draws.

    Returns:
        (sample, slice); None where the likelihood tells neither.
    """
    operator = likelihood.operator
    axes = operator.codomain.axes
    if axes[0] == "z" and isinstance(likelihood, HasMisfit):
        inner = operator.codomain.dims()[1:]
        number = likelihood.components.expand(likelihood.measurement.shape).sum(inner)
        chi: Tensor = likelihood.misfit(u).sum(inner) / number
        return chi
    surrogate = likelihood.surrogate() if isinstance(likelihood, HasSurrogate) else likelihood
    if not isinstance(surrogate, HasPerturbation):
        return None
    shape = operator.codomain.shape
    empty = likelihood.measurement.new_empty((1, *shape))
    expected = torch.zeros(u.shape[1], dtype=torch.float64, device=u.device)
    for draw in range(_DRAWS):
        back = surrogate.perturbation(_white(noise, empty, draw))[0]
        expected += back.abs().square().sum((-2, -1)).double() / _DRAWS
    found = surrogate.gradient(u).abs().square().sum((-2, -1)).double()
    return (found / expected).to(u.real.dtype)


def _white(noise: Noise, empty: Tensor, draw: int) -> Tensor:
    # Plain noise: that of a coherent run is correlated along the slices of images.
    return Noise(noise.seed, noise.case).like(empty, "expected residual", step=draw)
