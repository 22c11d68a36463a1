"""Sparsity in an orthonormal wavelet basis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from medldm.inference import DiffusionPrior, Likelihood, Noise, Step, weighted_norm
from medldm_solvers.image_scale import image_scale, unstated_noise
from medldm_solvers.linear_data import quadratic
from medldm_solvers.references import FISTA, SPARSE_MRI
from medldm_solvers.wavelet import WaveletTransform


@dataclass(frozen=True)
class L1Wavelet:
    """``min energy(u) + lam |Psi u|_1`` by FISTA (Beck and Teboulle 2009; Lustig et al. 2007 for MR).

    ``Psi`` transforms every slice; its coarsest approximation is not penalised, so that the mean is not shrunk.

    Attributes:
        lam: weight in units of 1 / (0.95 quantile of the magnitude of the start image); independent of the noise,
            which the likelihood's energy carries.
        iterations: of FISTA.
        moments: vanishing moments of Daubechies' wavelet: 1 is Haar, 2 has four taps.
        levels: of decomposition.
        shifts: shift the wavelet grid at random in every iteration (cycle spinning, Coifman and Donoho 1995), which
            removes the blocks of a fixed grid.
        trust: the noise that is stated, or where it is larger the misfit of the start image, which must then be the
            best fit without a prior; multiplies ``lam`` by its chi.
    """

    references: ClassVar[tuple[str, ...]] = (FISTA, SPARSE_MRI)

    lam: Annotated[float, Field(ge=0)] = 20.0
    iterations: Annotated[int, Field(ge=1)] = 100
    moments: Annotated[int, Field(ge=1, le=8)] = 2
    levels: Annotated[int, Field(ge=1)] = 4
    shifts: bool = True
    trust: Literal["stated", "start"] = "stated"

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield a step per iteration; the state is ``x_k, y_k+1, t_k+1`` and the step size. ``prior`` is not used."""
        data = quadratic(likelihood)
        A, psi = data.operator, WaveletTransform(data.operator.domain, self.moments, self.levels)
        lam = self.lam / image_scale(data, start) * unstated_noise(data, start, self.trust)
        ny, nx = psi.coarsest

        if state:
            x, y, t, inverse_l = state["x"], state["y"], float(state["t"]), float(state["inverse_l"])
        else:
            x, y, t = start, start, 1.0  # y_1 = x_0, t_1 = 1
            inverse_l = weighted_norm(A, data.weights, noise, start.device) ** -2  # 1 / L(f)
        first = int(state["index"]) + 1 if state else 0
        for k in range(first, self.iterations):
            shift = (0, 0)
            if self.shifts:
                drawn = noise.stream("wavelet-shift", step=k).integers(2**self.levels, size=2)
                shift = (int(drawn[0]), int(drawn[1]))
            # x_k = p_L(y_k), eq. (4.1): a gradient step, then the prox of |Psi u|_1, exact for an orthonormal Psi
            coefficients = psi((y - inverse_l * data.gradient(y)).roll(shift, (-2, -1)))
            approximation = coefficients[..., :ny, :nx].clone()
            coefficients = soft_threshold(coefficients, lam * inverse_l)
            coefficients[..., :ny, :nx] = approximation
            x_new = psi.H(coefficients).roll((-shift[0], -shift[1]), (-2, -1))
            t_new = (1 + (1 + 4 * t * t) ** 0.5) / 2  # eq. (4.2)
            y = x_new + ((t - 1) / t_new) * (x_new - x)  # eq. (4.3)
            x, t = x_new, t_new
            kept = {
                "x": x,
                "y": y,
                "t": torch.tensor(t, dtype=torch.float64),
                "inverse_l": torch.tensor(inverse_l, dtype=torch.float64),
                "index": torch.tensor(k),
            }
            yield Step(k, self.iterations, None, x, x, kept)


def soft_threshold(c: Tensor, threshold: Tensor | float) -> Tensor:
    """Shrink magnitudes by ``threshold`` and keep signs or phases: the prox of ``threshold * |c|_1``."""
    magnitude = c.abs()
    return c * ((magnitude - threshold).clamp_(min=0) / magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny))
