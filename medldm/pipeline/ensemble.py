"""The samples of a run, summed up one by one: their mean, their spread, how each fits its measurement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from medldm.data import Event
from medldm.inference import Likelihood
from medldm.inference.interval_width import half_width
from medldm.pipeline.checks import Fit


@dataclass(eq=False)
class Ensemble:
    """Running statistics (Welford 1962), so that no sample is kept but the first.

    The image of a sample is what would be written of it alone: of a complex one the magnitude. Mean and spread are of
    these images, as the truth that they are held against is one.

    Attributes:
        estimate: mean of the solver's own estimates (z, y, x), in its unit and on its grid.
        mean: of the images (z, y, x), in the acquisition's unit.
        squares: sum of squared deviations of the images from their mean.
        first: image of sample 0.
        chi: (sample,).
        slice_chi: (sample, slice), no slices where there is none.
    """

    estimate: Tensor
    mean: Tensor
    squares: Tensor
    first: Tensor
    chi: Tensor
    slice_chi: Tensor

    @classmethod
    def of(cls, estimate: Tensor, image: Tensor, chi: Tensor, slice_chi: Tensor | None) -> Self:
        """One sample.

        Args:
            estimate: (z, y, x) of the solver.
            image: the same on the scan, real or complex.
            chi: a number.
            slice_chi: (slice,), None where there is none.
        """
        seen = image.abs() if image.is_complex() else image
        slices = chi.new_empty(0) if slice_chi is None else slice_chi
        return cls(estimate.clone(), seen.clone(), torch.zeros_like(seen), seen.clone(), chi[None], slices[None])

    @property
    def count(self) -> int:
        """Samples so far."""
        return len(self.chi)

    def with_next(self, other: Ensemble) -> Ensemble:
        """These and the samples after them (Chan, Golub and LeVeque 1979)."""
        n, m = self.count, other.count
        step = other.mean - self.mean
        return Ensemble(
            estimate=self.estimate + (other.estimate - self.estimate) * (m / (n + m)),
            mean=self.mean + step * (m / (n + m)),
            squares=self.squares + other.squares + step.square() * (n * m / (n + m)),
            first=self.first,
            chi=torch.cat((self.chi, other.chi)),
            slice_chi=torch.cat((self.slice_chi, other.slice_chi)),
        )

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the images, ``n - 1`` in the denominator; for two samples or more."""
        if self.count < 2:
            raise ValueError("one sample has no spread")
        return (self.squares / (self.count - 1)).sqrt()

    def interval(self, level: float, model_error: float = 0.0) -> tuple[Tensor, Tensor]:
        """Lower and upper end of the predictive interval, see :func:`medldm.inference.interval_width.half_width`."""
        half = half_width(self.spread, self.count, level, model_error)
        return self.mean - half, self.mean + half

    def events(self, *, is_complex: bool) -> tuple[Event, ...]:
        """What was done to the solver's images to have their mean."""
        seen = (Event("magnitude"),) if is_complex else ()
        return seen if self.count == 1 else (*seen, Event("mean", {"samples": self.count}))

    def fit(self, likelihood: Likelihood) -> Fit:
        """How the samples explain their measurement, as plain numbers."""
        curves = [
            [round(value, 5) if math.isfinite(value) else None for value in curve] for curve in self.slice_chi.tolist()
        ]
        degrees = getattr(likelihood, "degrees_of_freedom", None)
        return Fit(self.chi.tolist(), curves if self.slice_chi.shape[1] else [], degrees)

    def state(self) -> dict[str, Tensor]:
        """To be saved."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """The inverse of :meth:`state`."""
        return cls(**{field.name: state[field.name] for field in fields(cls)})
