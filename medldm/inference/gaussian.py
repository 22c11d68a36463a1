"""Gaussian noise with known standard deviation: k-space, and any linear measurement."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from medldm.errors import InputRefused, UsageError
from medldm.inference.likelihood import check_measurement
from medldm.inference.weighted_least_squares import WeightedLeastSquares


@dataclass(frozen=True, eq=False)
class Gaussian(WeightedLeastSquares):
    """``y = A u + n``, ``n`` white with a standard deviation per real component.

    The energy is ``sum |A u - y|^2 / (2 std^2)`` over samples. A complex sample has two real components and so
    counts two degrees of freedom.

    Attributes:
        operator: ``A``, image ``(z, y, x)`` to measurement.
        measurement: ``y``, of the operator's codomain.
        std: standard deviation **per real component** in units of ``y``; a number, or a tensor that broadcasts to
            ``y`` (coils of different noise). Zero means noise-free data: there is no energy then, but solvers of
            least squares run on ``operator`` and ``measurement``.
        sampled: 1 where ``y`` was measured and 0 elsewhere, broadcastable to ``y``; None when all of it was.
            The operator gives zero where it is 0, as a masked acquisition does, so it matters only for the count
            of degrees of freedom. To leave measured samples out use :class:`WeightedGaussian` with zero weights.
    """

    std: float | Tensor
    sampled: Tensor | None = None

    def __post_init__(self) -> None:
        check_measurement(self.operator, self.measurement, std=self.std, sampled=self.sampled)
        std = torch.as_tensor(self.std)
        if not bool((std >= 0).all()):
            raise InputRefused(
                "E-LIK-02",
                "The noise standard deviation is negative or not a number.",
                why="A standard deviation per real component is zero or positive.",
                fix="Correct the noise of the acquisition or of the recipe.",
            )

    @property
    def noise_free(self) -> bool:
        """Whether some sample is stated to have no noise at all."""
        return not bool((torch.as_tensor(self.std) > 0).all())

    def require_noise(self) -> None:
        """Refuse measurements without noise, which have no finite energy.

        Raises:
            UsageError: E-LIK-01.
        """
        if self.noise_free:
            raise UsageError(
                "E-LIK-01",
                "The noise standard deviation is zero, so the likelihood has no finite energy.",
                why="Noise-free data cannot be weighed against a prior, and nothing says how well an image has to fit.",
                fix="State it above zero, per real component, in units of the measurement: --set likelihood.std=12.5; "
                "of a simulation acquisition.noise.std.",
            )

    @cached_property
    def weights(self) -> Tensor:
        """``1 / std^2`` (zero where nothing was sampled), broadcastable to the measurement."""
        self.require_noise()
        real = self.measurement.real if self.measurement.is_complex() else self.measurement
        weights = torch.as_tensor(self.std, dtype=real.dtype, device=real.device) ** -2
        return weights if self.sampled is None else weights * self.sampled.to(weights)

    @property
    def components(self) -> Tensor:
        """Real components of each sample that were measured: 0, 1 or 2; broadcastable to the measurement."""
        number = 2 if self.measurement.is_complex() else 1
        if self.sampled is None:
            return torch.tensor(number, device=self.measurement.device)
        return number * (self.sampled != 0).long()

    def gradient(self, u: Tensor) -> Tensor:
        return self._data_normal(u) - self._backprojected

    def measurement_prox(self, v: Tensor, step: Tensor) -> Tensor:
        """See :class:`WeightedLeastSquares`; ``y`` itself for noise-free data."""
        if not self.noise_free:
            return super().measurement_prox(v, step)
        if self.sampled is None:
            return self.measurement.expand_as(v).clone()
        return torch.where(self.sampled != 0, self.measurement, v)

    def _data_normal(self, u: Tensor) -> Tensor:
        if torch.as_tensor(self.std).numel() == 1:
            # One weight for all that the operator gives: its own, possibly much cheaper, gram serves.
            return self.operator.gram(u) * float(self.weights.max())
        return super()._data_normal(u)
