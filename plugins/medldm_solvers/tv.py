"""Total variation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from medldm.errors import ComponentMissing, UsageError
from medldm.inference import DiffusionPrior, HasMeasurementProx, Likelihood, Noise, Step
from medldm_solvers.gradient_field import GradientField, difference_steps
from medldm_solvers.image_scale import image_scale, unstated_noise
from medldm_solvers.operator_size import absolute_sums, mean_gain
from medldm_solvers.references import CHAMBOLLE_POCK, TOTAL_VARIATION


@dataclass(frozen=True)
class TotalVariation:
    """``min energy(u) + lam sum |grad u|`` by diagonally preconditioned Chambolle-Pock (Pock and Chambolle 2011).

    The total variation is isotropic and complex for complex images. Differences are divided by the voxel spacing over
    the finest spacing, so a thick slice is coupled less. Any likelihood that separates over samples takes part with
    its own dual step: Gaussian, weighted Gaussian, transmission Poisson.

    Attributes:
        lam: weight in units of 1 / (0.95 quantile of the magnitude of the start image); independent of the noise,
            which the likelihood's energy carries.
        iterations: of Chambolle-Pock.
        dims: differences within slices, or along z as well.
        spacing: of voxels along z, y, x in mm; None takes that of the operator's domain. Where that is not known
            either, pixels are square and ``3d`` is refused.
        nonnegative: keep a real image from becoming negative.
        trust: the noise that is stated, or where it is larger the misfit of the start image, which must then be the
            best fit without a prior; multiplies ``lam`` by its chi.
        ratio: of primal to dual steps, in units of the image's scale over ``lam``.
        balance: of the steps of the data term over those of the gradient, for a white-noise image.
    """

    references: ClassVar[tuple[str, ...]] = (TOTAL_VARIATION, CHAMBOLLE_POCK)
    images_held: ClassVar[int] = 14
    measurements_held: ClassVar[int] = 6

    lam: Annotated[float, Field(gt=0)] = 5.0
    iterations: Annotated[int, Field(ge=1)] = 200
    dims: Literal["2d", "3d"] = "2d"
    spacing: tuple[float, float, float] | None = None
    nonnegative: bool = False
    trust: Literal["stated", "start"] = "stated"
    ratio: Annotated[float, Field(gt=0)] = 0.3
    balance: Annotated[float, Field(gt=0)] = 1.0

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield a step per iteration; the state is ``x`` and the duals ``p`` (data), ``q`` (gradient)."""
        if not isinstance(likelihood, HasMeasurementProx):
            raise ComponentMissing(
                "E-SOL-04",
                f"Total variation does not run on the likelihood {type(likelihood).__name__}.",
                why="Its dual step needs a likelihood that separates over samples.",
                fix="Use a Gaussian, weighted Gaussian or transmission Poisson likelihood.",
            )
        A = likelihood.operator
        if self.nonnegative and A.domain.is_complex:
            raise UsageError(
                "E-SOL-05",
                "A complex image cannot be kept from becoming negative.",
                why="The order of real numbers does not exist for complex ones.",
                fix="Set nonnegative to false.",
            )
        D = GradientField(difference_steps(self.dims, self.spacing or A.domain.spacing))
        scale = image_scale(likelihood, start)
        lam = self.lam / scale * unstated_noise(likelihood, start, self.trust)
        r = self.ratio * scale / lam

        # Lemma 2 with alpha = 1: Sigma = 1 / row sums, T = 1 / column sums of K = [A; D]. The rows of A are scaled by
        # g, so that the unit of the measurement does not shift weight between the two parts.
        rows, columns = absolute_sums(A, noise, start, torch.ones((), device=start.device))
        gain = mean_gain(A, noise, start, rows, columns)
        g = self.balance * D.column_sum / (columns.mean() * gain**0.5)
        sigma_a, sigma_d = g / (r * rows), 1 / (r * D.row_sum)
        inverse = 1 / sigma_a
        tau = r / (g * columns + D.column_sum)

        if state:
            x, p, q, first = state["x"], state["p"], state["q"], int(state["index"]) + 1
        else:
            x, first = start, 0
            p, q = A.codomain.zeros(len(x), device=x.device).to(likelihood.measurement.dtype), D.zeros(x)
        for k in range(first, self.iterations):
            # x_k+1 = (I + T dG)^-1 (x_k - T K^T y_k), eq. (4); q is kept in units of lam
            descent = A.H(p)
            D.add_adjoint(descent, q, lam)
            x_new = torch.addcmul(x, tau, descent, value=-1)
            if self.nonnegative:
                x_new.clamp_(min=0)
            x_bar = torch.sub(2 * x_new, x, out=descent)
            # y_k+1 = (I + Sigma dF*)^-1 (y_k + Sigma K (2 x_k+1 - x_k)); the data part by Moreau's identity
            p = A(x_bar).mul_(sigma_a).add_(p)
            p = p - sigma_a * likelihood.measurement_prox(p * inverse, inverse)
            q = D.project(D.ascend(q, x_bar, sigma_d / lam))
            x = x_new
            yield Step(k, self.iterations, None, x, x, {"x": x, "p": p, "q": q, "index": torch.tensor(k)})
