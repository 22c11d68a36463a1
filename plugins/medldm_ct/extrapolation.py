"""Projections that a detector cut off, continued to zero beyond its ends.

A ramp filter answers the step at the end of a truncated row with a bright rim that spreads over the whole image. A row
that goes on smoothly has none. Both ends are continued by their last value times a squared cosine (Ohnesorge et al.
2000): linear in the data, so that filtered back-projection stays an operator with an exact adjoint. What lies
outside the field of view remains unknown; inside, the image keeps its contrast.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from medldm_ct.geometry import Geometry
from medldm_ct.redundancy import Redundancy

# A row is cut off where it ends at more than this share of the largest line integral.
_EDGE = 0.05
# The continuation is as long as this share of the row on each side.
_LENGTH = 0.5
_log = logging.getLogger("medldm.ct")


@dataclass(frozen=True)
class Truncation:
    """How much of a measurement a detector cut off.

    Attributes:
        rows: share of the rows of bins, over all views and slices, that do not end in air.
        edge: mean of their ends, as a share of the largest line integral.
    """

    rows: float
    edge: float

    @property
    def noticeable(self) -> bool:
        """Whether more than one row in a hundred is cut off."""
        return self.rows > 0.01

    def sentence(self, what: str) -> str:
        """For a warning; ``what`` ends in the object."""
        return (
            f"The detector truncates the object: {self.rows:.0%} of its {what} end in it, on average at "
            f"{self.edge:.0%} of the largest line integral."
        )


def truncation(data: Tensor, ends: Literal["both", "first", "last"] = "both") -> Truncation:
    """Of line integrals ``(..., bin)``; up to three bins are averaged at an end, so that noise is no object."""
    width = max(1, min(data.shape[-1] // 16, 3))
    first, last = data[..., :width].mean(-1), data[..., -width:].mean(-1)
    end = {"both": torch.maximum(first, last), "first": first, "last": last}[ends]
    ends_at = end / data.max().clamp(min=1e-12)
    cut = ends_at > _EDGE
    return Truncation(float(cut.double().mean()), float(ends_at[cut].double().mean()) if bool(cut.any()) else 0.0)


def rows_are_truncated(data: Tensor, geometry: Geometry, redundancy: Redundancy | None) -> bool:
    """Whether the detector cut the object off, said in a warning with how much (``E-CT-25``).

    Under the weights of a displaced detector its short end lies in the object by design, and the long one is judged.
    """
    one_sided = redundancy is not None and redundancy.kind == "displaced"
    low, high = (float(edge) for edge in geometry.edges()[[0, -1]])
    found = truncation(data, "both" if not one_sided else ("last" if low + high > 0 else "first"))
    if found.noticeable:
        # Of one detector row every row of bins is a view.
        sentence = found.sentence("views" if 1 in data.shape[:2] else "detector rows, counted in every view,")
        _log.warning("%s %s They are continued smoothly for filtered back-projection.", "E-CT-25", sentence)
    return found.noticeable


@dataclass(frozen=True)
class Continuation:
    """Both ends of rows of bins continued to zero.

    Attributes:
        bins: of a row.
        added: bins on each side; none leaves the row as it is.
    """

    bins: int
    added: int

    @classmethod
    def of(cls, bins: int, *, truncated: bool) -> Continuation:
        """As long as the ramp needs it."""
        return cls(bins, math.ceil(_LENGTH * bins) if truncated else 0)

    def extend(self, y: Tensor) -> Tensor:
        """``(..., bin)`` -> ``(..., added + bin + added)``."""
        if not self.added:
            return y
        taper = self._taper(y)
        return torch.cat([y[..., :1] * taper.flip(0), y, y[..., -1:] * taper], -1)

    def fold(self, y: Tensor) -> Tensor:
        """The exact transpose of :meth:`extend`."""
        if not self.added:
            return y
        n, taper = self.added, self._taper(y)
        folded = y[..., n : n + self.bins].clone()
        folded[..., 0] += (y[..., :n] * taper.flip(0)).sum(-1)
        folded[..., -1] += (y[..., n + self.bins :] * taper).sum(-1)
        return folded

    def crop(self, y: Tensor) -> Tensor:
        """The row itself again, after the filter."""
        return y[..., self.added : self.added + self.bins]

    def pad(self, y: Tensor) -> Tensor:
        """The exact transpose of :meth:`crop`."""
        return torch.nn.functional.pad(y, (self.added, self.added))

    def _taper(self, like: Tensor) -> Tensor:
        step = torch.arange(1, self.added + 1, dtype=torch.float64) / (self.added + 1)
        return (math.pi / 2 * step).cos().square().to(like)
