"""A network trained for exactly this measurement: no diffusion, the competitor that a diffusion prior has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.errors import ComponentMissing
from medldm.inference import DiffusionPrior, Likelihood, Noise, Step, is_regressor
from medldm_solvers.references import SUPERVISED


@dataclass(frozen=True)
class Supervised:
    """One call of a network on the start image (Jin, McCann, Froustey and Unser, IEEE TIP 2017, FBPConvNet).

    The network is a U-Net that was trained on pairs of start images and truths of one recipe, by ``medldm train
    regressor``. It knows that recipe's artefacts and no other's. Nothing is drawn: all samples are one image.

    Attributes:
        data_step: afterwards ``argmin_u energy(u) + |u - v|^2 / (2 error^2)`` around the network's image ``v``; the
            paper has none.
        error: of the network's image in the data step, standard deviation in the prior's unit, per real component.
        cg_iterations: of conjugate gradients in the data step, at most.
    """

    references: ClassVar[tuple[str, ...]] = (SUPERVISED,)
    images_held: ClassVar[int] = 9
    measurements_held: ClassVar[int] = 3

    data_step: bool = False
    error: Annotated[float, Field(gt=0)] = 0.02
    cg_iterations: Annotated[int, Field(ge=1)] = 10

    @property
    def proximal(self) -> bool:
        """Whether slices can be coupled: in the data step alone."""
        return self.data_step

    @torch.no_grad()
    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """Yield one step; ``noise`` and ``state`` do not matter.

        Raises:
            ComponentMissing: E-SOL-23 there is no regressor.
        """
        if prior is None or not is_regressor(prior):
            raise ComponentMissing(
                "E-SOL-23",
                "The solver 'supervised' needs a regressor; "
                + ("none is given." if prior is None else "the prior given is a diffusion prior."),
                why="A denoiser of Gaussian noise was not trained on the artefacts of a start image.",
                fix="medldm train regressor makes one for a recipe; or choose a diffusion solver.",
            )
        # the paper's skip from input to output is the parametrization's: the network gives what the start image lacks
        v = prior.denoise(start, start.real.new_zeros(len(start)))
        u = v
        if self.data_step:
            u = likelihood.prox(v, self.error**-2, start=v, iterations=self.cg_iterations)
        yield Step(0, 1, None, v, u)
