"""What a detector makes of line integrals: photon counts, read-out noise, the logarithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from medldm.errors import UsageError
from medldm.inference import Noise

# A count below one photon has no useful logarithm.
COUNT_FLOOR = 1.0


@dataclass(frozen=True)
class DetectorNoise:
    """Noise of a simulated measurement.

    Attributes:
        model: ``poisson`` photon counts; ``gaussian`` white noise on the line integrals; ``none``.
        photons: mean number of photons that reach a detector bin without an object.
        electronic_std: standard deviation of the read-out in photons, for ``poisson``.
        background: mean counts of a bin that did not cross the object, scatter and dark current, for ``poisson``. The
            reconstruction knows their mean, not their noise.
        std: standard deviation of a line integral, for ``gaussian``.
    """

    model: Literal["poisson", "gaussian", "none"] = "poisson"
    photons: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0e5
    electronic_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    background: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def __post_init__(self) -> None:
        if not (self.photons > 0 and min(self.electronic_std, self.background, self.std) >= 0):
            raise UsageError(
                "E-CT-13",
                f"The noise has {self.photons} photons, a background of {self.background}, an electronic standard "
                f"deviation of {self.electronic_std} and a standard deviation of {self.std}.",
                why="Photons are positive; a background and a standard deviation are zero or positive.",
                fix="Correct acquisition.noise.",
            )

    def measured(self, projections: Tensor, noise: Noise) -> tuple[Tensor, Tensor | None]:
        """Line integrals as measured, and the counts behind them; both ``(z, view, bin)``.

        Counts are kept as they are, with read-out noise possibly below zero; their logarithm is taken without the
        background, and of those below one photon as one.
        """
        shape = tuple(projections.shape)
        if self.model == "none":
            return projections, None
        if self.model == "gaussian":
            return projections + noise.normal(shape, projections.dtype, "line integrals", std=self.std), None
        counts = noise.poisson(self.photons * torch.exp(-projections) + self.background, "photons")
        if self.electronic_std:
            counts += noise.normal(shape, counts.dtype, "electronic", std=self.electronic_std)
        return torch.log(self.photons / (counts - self.background).clamp(min=COUNT_FLOOR)), counts

    def settings(self) -> dict[str, float | str]:
        """What the acquisition keeps of it."""
        if self.model == "gaussian":
            return {"noise": self.model}
        settings: dict[str, float | str] = {
            "noise": self.model,
            "photons": self.photons,
            "electronic_std": self.electronic_std,
        }
        return settings | ({"background": self.background} if self.background else {})

    @property
    def line_integral_std(self) -> float | None:
        """Standard deviation of a line integral; None where it differs from ray to ray."""
        return {"gaussian": self.std, "none": 0.0}.get(self.model)
