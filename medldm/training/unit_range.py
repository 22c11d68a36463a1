"""Model values as a unit range: 0 for what a card maps its low end to, 1 for its high end."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medldm.priors.card import Intensity
from medldm.training.config import TrainConfig


@dataclass(frozen=True)
class UnitRange:
    """Between the model values of a card, such as [-1, 1], and [0, 1], in which air is 0.

    Attributes:
        low: model value that is 0 in the unit range.
        high: model value that is 1.
    """

    low: float
    high: float

    @classmethod
    def of(cls, intensity: Intensity) -> UnitRange:
        """That of a card's intensities."""
        return cls(*intensity.to)

    @property
    def span(self) -> float:
        """Width of the model range: the peak of a PSNR."""
        return abs(self.high - self.low)

    def unit(self, values: Tensor) -> Tensor:
        """Model values of any shape in the unit range; the same tensor where that is the model's."""
        return values if self._same else (values - self.low) / (self.high - self.low)

    def model(self, values: Tensor) -> Tensor:
        """The inverse of :meth:`unit`."""
        return values if self._same else values * (self.high - self.low) + self.low

    @property
    def _same(self) -> bool:
        return (self.low, self.high) == (0.0, 1.0)


def range_of(config: TrainConfig, *, is_mr: bool) -> UnitRange:
    """That of the scans of a modality."""
    return UnitRange.of(config.data.intensity["MR" if is_mr else "CT"])
