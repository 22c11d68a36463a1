"""The likelihood of a CT measurement, as an option of the physics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from medldm.data import Acquisition
from medldm.errors import InputRefused, UsageError
from medldm.inference import Likelihood
from medldm.operators import LinearOperator
from medldm_ct.photons import COUNT_FLOOR


@dataclass(frozen=True)
class LineIntegralLikelihood:
    """The noise model of the reconstruction; called with a measurement it gives the likelihood.

    The physics holds it as its field ``likelihood``, so that the option and the method of the protocol are one.

    Attributes:
        name: ``weighted-gaussian``, line integrals weighted by their photon counts; ``transmission-poisson``, the
            counts themselves, for low dose; ``gaussian``, line integrals of equal noise.
        std: of a line integral for ``gaussian``; ``acquisition``, as it was measured or simulated, or a number.
        newton_steps: of a proximal step of ``transmission-poisson``, at most. A solver that takes many proximal steps,
            each from where the last one ended, needs one.
    """

    name: Literal["weighted-gaussian", "transmission-poisson", "gaussian"] = "weighted-gaussian"
    std: Literal["acquisition"] | Annotated[float, Field(ge=0, allow_inf_nan=False)] = "acquisition"
    newton_steps: Annotated[int, Field(ge=1)] = 10

    def __call__(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        """The likelihood of a measurement.

        Raises:
            UsageError: ``E-CT-14`` when the measurement lacks what this model needs: the noise's standard deviation
                for ``gaussian``, the photons per bin for the others.
            InputRefused: ``E-CT-19`` when its photons or electronic noise are negative.
        """
        from medldm.inference.gaussian import Gaussian
        from medldm.inference.transmission_poisson import TransmissionPoisson
        from medldm.inference.weighted_gaussian import WeightedGaussian

        data = acquisition.data
        if self.name == "gaussian":
            std = acquisition.noise_std if self.std == "acquisition" else self.std
            if std is None:
                raise _missing("standard deviation of its line integrals", "Set likelihood.std, or use another.")
            return Gaussian(operator, data, float(std))
        counts, background, variance = _counts(acquisition)
        crossed = (counts - background).clamp(min=COUNT_FLOOR)
        if self.name == "weighted-gaussian":
            # Inverse variance of the logarithm to first order (Thibault et al. 2006).
            return WeightedGaussian(operator, data, crossed.square() / (crossed + background + variance))
        # The blank scan that the stored line integrals imply: I0, less what was subtracted from them since.
        blank = crossed * torch.exp(data)
        # Read-out noise as further photons of the same variance (shifted Poisson, Yavuz and Fessler 1998).
        counts, background = (counts + variance).clamp(min=0), background + variance
        return TransmissionPoisson(operator, counts, blank, background=background, newton_steps=self.newton_steps)


def _counts(acquisition: Acquisition) -> tuple[Tensor, float | Tensor, float]:
    """Counts, the mean of those that did not cross the object, and the variance of the read-out in squared photons."""
    photons = acquisition.settings.get("photons")
    if photons is None:
        raise _missing("number of photons per bin", "Use likelihood.name: gaussian, or store the photons with it.")
    electronic = float(acquisition.settings.get("electronic_std", 0.0))
    background = acquisition.tensors.get("background", float(acquisition.settings.get("background", 0.0)))
    least = float(background.min()) if isinstance(background, Tensor) else background
    if not float(photons) > 0 or not electronic >= 0 or not least >= 0:
        raise InputRefused(
            "E-CT-19",
            f"The measurement states {photons} photons per bin, an electronic noise of {electronic} photons and a "
            f"background of {least}.",
            why="Photons are positive; a background and a standard deviation are zero or positive.",
            fix="Correct the settings of the acquisition.",
        )
    if "counts" in acquisition.tensors:
        return acquisition.tensors["counts"], background, electronic**2
    return float(photons) * torch.exp(-acquisition.data) + background, background, electronic**2


def _missing(what: str, fix: str) -> UsageError:
    return UsageError(
        "E-CT-14",
        f"The measurement does not state the {what}.",
        why="The likelihood cannot weigh its data without it.",
        fix=fix,
    )
