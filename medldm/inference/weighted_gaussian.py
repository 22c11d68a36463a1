"""Gaussian noise with a weight per sample: post-log CT, and any measurement with a known diagonal covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from medldm.errors import InputRefused
from medldm.inference.likelihood import check_measurement
from medldm.inference.weighted_least_squares import WeightedLeastSquares
from medldm.operators import LinearOperator

_PAPER = (
    "K. Sauer, C. Bouman. A local update strategy for iterative reconstruction from projections. IEEE Transactions on "
    "Signal Processing 41(2), 534-548, 1993."
)


@dataclass(frozen=True, eq=False)
class WeightedGaussian(WeightedLeastSquares):
    """``y = A u + n`` with independent noise of inverse variance ``weights`` per real component.

    The energy is ``sum W |A u - y|^2 / 2``. Samples of zero weight take no part and are no degrees of freedom.

    Attributes:
        operator: ``A``, image ``(z, y, x)`` to measurement.
        measurement: ``y``, of the operator's codomain; line integrals for CT.
        weights: inverse variance **per real component**, zero or positive, broadcastable to ``y``.
    """

    references: ClassVar[tuple[str, ...]] = (_PAPER,)

    weights: Tensor

    COUNT_FLOOR: ClassVar[float] = 1.0
    """Counts below one photon are taken as one: their logarithm stays finite, their weight stays about one."""

    def __post_init__(self) -> None:
        check_measurement(self.operator, self.measurement, weights=self.weights)
        if not bool((self.weights >= 0).all()) or not bool(torch.isfinite(self.weights).all()):
            raise InputRefused(
                "E-LIK-06",
                "The weights of the measurement are negative, infinite or not a number.",
                why="A weight is an inverse variance: zero or positive, and finite.",
                fix="Correct the weights; give samples that are to be ignored the weight zero.",
            )

    @classmethod
    def from_counts(
        cls, operator: LinearOperator, counts: Tensor, photons: float | Tensor, electronic_variance: float = 0.0
    ) -> Self:
        """Post-log data of photon counts ``N``: ``y = -log(N / I0)``, weights ``N^2 / (N + electronic variance)``.

        The weights are the inverse variances of the logarithm to first order (Sauer and Bouman 1993; with electronic
        noise Thibault et al. 2006). Counts are floored at :attr:`COUNT_FLOOR`.

        Args:
            operator: line integrals of the image in 1/mm (or any unit in which ``A u`` is the exponent).
            counts: detected photons, of the operator's codomain.
            photons: ``I0``, mean photons per bin without an object; broadcastable to ``counts``.
            electronic_variance: of the read-out in squared photons.
        """
        blank = torch.as_tensor(photons, dtype=counts.dtype, device=counts.device)
        if not bool((blank > 0).all()) or not electronic_variance >= 0:
            raise InputRefused(
                "E-LIK-07",
                "The photons per bin must be positive and the electronic variance zero or positive.",
                why="The logarithm and the weights of counts need both.",
                fix="Give the mean count of a scan without an object, in photons.",
            )
        floored = counts.clamp(min=cls.COUNT_FLOOR)
        return cls(operator, torch.log(blank / floored), floored.square() / (floored + electronic_variance))
