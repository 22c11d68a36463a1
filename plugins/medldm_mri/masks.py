"""Which samples of Cartesian k-space are measured.

Every mask is a centred array ``(ky, kx)`` of zeros and ones with a fully sampled calibration region around frequency
zero (index ``n // 2``). The acceleration is the overall one, calibration included: the number of samples (lines) is
that of the full grid divided by it, rounded to a whole sample (line).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from medldm.errors import UsageError
from medldm.inference import Noise
from medldm_mri.centred_block import centred

Kind = Literal[
    "uniform", "random", "variable-density-1d", "poisson-disc-1d", "random-2d", "variable-density-2d", "poisson-disc-2d"
]


@dataclass(frozen=True)
class SamplingMask:
    """Options of a sampling mask; the same mask serves every slice.

    Attributes:
        kind: whole lines, undersampled along ``axis``: ``uniform`` (equispaced), ``random``,
            ``variable-density-1d`` (random, denser at the centre) or ``poisson-disc-1d``. Single samples,
            undersampled along both axes (two phase-encoding directions): ``random-2d``, ``variable-density-2d`` or
            ``poisson-disc-2d``.
        acceleration: all samples of the grid per measured one, calibration included; 1 measures everything.
        calibration: fraction of the lines of each undersampled axis that is fully sampled around the centre.
        axis: phase-encoding axis, along which lines are left out; of the 2-D kinds only ``partial`` uses it.
        partial: share of k-space along ``axis``, from its lower end, beyond which nothing is measured (partial Fourier,
            5/8 or 6/8 on scanners); 1 measures both sides. Less than ``acceleration`` leaves is measured where that
            share holds no more.
        decay: how sampling thins out towards the edge of k-space, 0 for not at all. Of ``variable-density-*`` the
            power p in the density ``(1 - r)^p``, r being the distance from the centre over the largest one
            (Lustig et al. 2007). Of ``poisson-disc-*`` the growth of the discs' radius, ``1 + p r``.
    """

    kind: Kind = "variable-density-1d"
    acceleration: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 4.0
    calibration: Annotated[float, Field(ge=0, le=1)] = 0.08
    axis: Literal["y", "x"] = "x"
    partial: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    decay: Annotated[float, Field(ge=0, le=20)] = 2.0

    @property
    def is_2d(self) -> bool:
        """Whether single samples are left out instead of whole lines."""
        return self.kind.endswith("-2d")

    def draw(self, shape: tuple[int, int], noise: Noise) -> Tensor:
        """The mask for a k-space of ``shape`` (ky, kx): float32 zeros and ones.

        Raises:
            UsageError: E-MRI-01 when the calibration region alone has more samples than the acceleration leaves, or
                reaches beyond the measured side.
        """
        grid = shape if self.is_2d else (shape[0], 1) if self.axis == "y" else (1, shape[1])
        block = tuple(centred(n, 1 if n == 1 else min(n, round(self.calibration * n))) for n in grid)
        calibrated = np.zeros(grid, dtype=bool)
        calibrated[block] = True
        beyond = self._beyond(grid)
        if bool((calibrated & beyond).any()):
            raise UsageError(
                "E-MRI-01",
                f"The calibration region reaches beyond the {self.partial:g} of k-space that is measured.",
                why="It lies around the centre, as many lines on either side.",
                fix="Lower the calibration fraction, or raise partial.",
            )
        free = ~calibrated & ~beyond
        budget = min(max(1, round(calibrated.size / self.acceleration)), int((~beyond).sum()))
        outer = budget - int(calibrated.sum())
        if outer < 0:
            raise UsageError(
                "E-MRI-01",
                f"The calibration region needs {int(calibrated.sum())} of {calibrated.size} samples, "
                f"but acceleration {self.acceleration:g} leaves {budget}.",
                why="The acceleration counts the calibration region.",
                fix="Lower the acceleration or the calibration fraction.",
            )
        stream = noise.stream("mask")
        if self.kind == "uniform":
            chosen = _equispaced(free, outer, stream)
        elif self.kind.startswith("poisson-disc"):
            chosen = _poisson_disc(free, outer, 1 + self.decay * _radius(grid), stream)
        elif self.kind.startswith("variable-density"):
            chosen = _weighted(free, outer, (1 - _radius(grid)) ** self.decay, stream)
        else:
            chosen = _weighted(free, outer, np.ones(grid), stream)
        mask = torch.from_numpy((calibrated | chosen).astype(np.float32))
        return mask.expand(shape).contiguous()

    def _beyond(self, grid: tuple[int, int]) -> NDArray[np.bool_]:
        """What partial Fourier leaves out, (ky, kx)."""
        axis = 0 if self.axis == "y" else 1
        lines = np.arange(grid[axis]) >= round(self.partial * grid[axis])
        return np.broadcast_to(lines[:, None] if axis == 0 else lines, grid)


def acceleration_of(mask: Tensor) -> float:
    """Samples of the grid per measured one."""
    return mask.numel() / max(1, int((mask != 0).sum()))


def _radius(grid: tuple[int, int]) -> NDArray[np.float64]:
    """Distance from the centre, each axis scaled to half its length, over just more than the largest distance."""
    axes = [np.abs(np.arange(n) - n // 2) / (n / 2 + 1) if n > 1 else np.zeros(1) for n in grid]
    return np.asarray(np.hypot(axes[0][:, None], axes[1]) / np.sqrt(sum(n > 1 for n in grid) or 1))


def _equispaced(free: NDArray[np.bool_], count: int, stream: np.random.Generator) -> NDArray[np.bool_]:
    """``count`` of the free lines at equal (fractional) distances, from a random offset."""
    chosen = np.zeros(free.shape, dtype=bool)
    lines = np.flatnonzero(free)
    if count:
        step = len(lines) / count
        chosen.flat[lines[(np.arange(count) * step + stream.random() * step).astype(int)]] = True
    return chosen


def _weighted(
    free: NDArray[np.bool_], count: int, density: NDArray[np.float64], stream: np.random.Generator
) -> NDArray[np.bool_]:
    """``count`` free samples without replacement, drawn by weight (Efraimidis and Spirakis 2006)."""
    chosen = np.zeros(free.shape, dtype=bool)
    key = np.where(free, stream.exponential(size=free.shape) / density, np.inf)
    chosen.flat[np.argsort(key, axis=None, kind="stable")[:count]] = True
    return chosen


def _poisson_disc(
    free: NDArray[np.bool_], count: int, radius: NDArray[np.float64], stream: np.random.Generator
) -> NDArray[np.bool_]:
    """``count`` free samples, any two further apart than the disc of the one drawn first.

    Darts are thrown at all free samples in one random order, and the scale of the discs is bisected for the largest
    that still leaves ``count``; the few too many are taken away at random, which keeps the distances.
    """
    order = stream.permutation(np.flatnonzero(free))
    low, high = 0.0, float(np.hypot(*free.shape))
    best = order
    while high - low > 1e-3 * high and len(best) > count:
        scale = (low + high) / 2
        darts = _throw(order, scale * radius)
        if len(darts) >= count:
            low, best = scale, darts
        else:
            high = scale
    chosen = np.zeros(free.shape, dtype=bool)
    chosen.flat[best[stream.permutation(len(best))[:count]]] = True
    return chosen


def _throw(order: NDArray[np.intp], radius: NDArray[np.float64]) -> NDArray[np.intp]:
    """Samples accepted in the given order, each blocking all others within its own radius."""
    rows, columns = radius.shape
    open_ = np.ones(radius.shape, dtype=bool)
    flat, accepted = open_.reshape(-1), []
    squares = np.arange(max(rows, columns)) ** 2
    for index in order.tolist():
        if not flat[index]:
            continue
        accepted.append(index)
        r = float(radius.flat[index])
        row, column = divmod(index, columns)
        reach = int(r)
        top, left = max(0, row - reach), max(0, column - reach)
        window = open_[top : row + reach + 1, left : column + reach + 1]
        dy = squares[np.abs(np.arange(top - row, top - row + window.shape[0]))]
        dx = squares[np.abs(np.arange(left - column, left - column + window.shape[1]))]
        window &= dy[:, None] + dx > r * r
    return np.asarray(accepted, dtype=np.intp)
