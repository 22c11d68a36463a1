"""Onto a regular, upright grid: in-plane shifts against gantry tilt, linear interpolation across gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medldm.data import Grid, History
from medldm.errors import InputRefused
from medldm_dicom.frame import Vector
from medldm_dicom.geometry import GAP_CODES, Layout


def regular_count(layout: Layout) -> int:
    """Slices of the regular grid between the first and the last plane."""
    return math.floor(float(layout.distances[-1] - layout.distances[0]) / layout.step + 1e-3) + 1


def check_interpolated(layout: Layout) -> int:
    """Slices of the regular grid.

    Raises:
        InputRefused: ``E-GEO-16`` when more slices would be made up than were read.
    """
    count = regular_count(layout)
    if count > 2 * len(layout.shelves):
        raise InputRefused(
            "E-GEO-16",
            f"{count - len(layout.shelves)} of {count} slices would have to be interpolated.",
            why="Most of the volume would be made up.",
            fix="Find the missing files, or read the parts of the series from folders of their own.",
        )
    return count


def across_gaps(volume: Tensor, layout: Layout) -> Tensor:
    """Interpolate planes (n, y, x) at uneven distances linearly at multiples of the step: (m, y, x)."""
    along = layout.distances - layout.distances[0]
    wanted = np.minimum(np.arange(regular_count(layout)) * layout.step, along[-1])
    upper = np.clip(np.searchsorted(along, wanted, side="left"), 1, len(along) - 1)
    lower = upper - 1
    weight = (wanted - along[lower]) / (along[upper] - along[lower])
    out = torch.empty((len(wanted), *volume.shape[1:]), dtype=volume.dtype)
    for k, (a, b, w) in enumerate(zip(lower, upper, weight, strict=True)):
        out[k] = torch.lerp(volume[a], volume[b], float(w))
    return out


def sideways(layout: Layout) -> Vector:
    """(n, 2) displacement of each plane against an upright stack along y and x, in pixels."""
    along = layout.distances - layout.distances[0]
    shear = np.outer(along, layout.lean - layout.directions[0])
    return np.asarray(shear @ layout.directions[1:].T / np.asarray(layout.spacing))


def upright_margins(layout: Layout) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns to add before and after so that nothing is cut off, ((y, y), (x, x))."""
    shift = sideways(layout)
    low, high = np.floor(shift.min(axis=0) + 1e-6), np.ceil(shift.max(axis=0) - 1e-6)
    return (int(-low[0]), int(high[0])), (int(-low[1]), int(high[1]))


def untilt(volume: Tensor, layout: Layout, background: float) -> Tensor:
    """Shift every plane in itself onto the upright grid of :func:`upright_grid`.

    Cubic convolution with a = -1/2 (Keys 1981, doi 10.1109/TASSP.1981.1163711), exact for quadratic
    polynomials, kept within the range of the plane.

    Args:
        volume: (n, y, x).
        layout: of the planes.
        background: value outside the planes, in units of the volume.

    Returns:
        (n, y + margins, x + margins).
    """
    (top, bottom), (left, right) = upright_margins(layout)
    n, rows, columns = volume.shape
    out = torch.empty((n, rows + top + bottom, columns + left + right), dtype=volume.dtype)
    for k, (down, across) in enumerate(sideways(layout)):
        plane = _shifted(volume[k], float(down) + top, rows + top + bottom, background)
        out[k] = _shifted(plane.T, float(across) + left, columns + left + right, background).T
    return out


def _shifted(plane: Tensor, shift: float, length: int, background: float) -> Tensor:
    """The plane moved by ``shift`` pixels along its first axis into ``length`` rows."""
    n = plane.shape[0]
    position = np.arange(length) - shift
    position = np.where(np.abs(position - np.round(position)) < 1e-6, np.round(position), position)
    base = np.floor(position)
    fraction = float(position[0] - base[0])
    out = torch.zeros((length, plane.shape[1]), dtype=plane.dtype)
    for tap in (-1, 0, 1, 2):
        # The edge row is repeated beyond the plane so that the kernel never mixes in the background.
        rows = torch.from_numpy(np.clip(base + tap, 0, n - 1).astype(np.int64))
        weight = _keys(tap - fraction)
        if weight:
            out += weight * plane[rows]
    if fraction:  # the kernel overshoots at the hard edge of a scanner's field of view
        out.clamp_(float(plane.min()), float(plane.max()))
    out[torch.from_numpy((position < 0) | (position > n - 1))] = background
    return out


def _keys(distance: float) -> float:
    d = abs(distance)
    if d <= 1:
        return 1.5 * d**3 - 2.5 * d**2 + 1
    return -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0


@dataclass(frozen=True, eq=False)
class Plan:
    """How planes as they lie become a regular, upright volume.

    Attributes:
        layout: of the planes.
        upright: shift the planes first, so that interpolation along z meets what lies above one another.
        slices: of the regular grid where there are gaps to fill; None where the planes are regular.
    """

    layout: Layout
    upright: bool
    slices: int | None

    @property
    def plane_voxels(self) -> int:
        """Voxels of one plane as it lies."""
        _, rows, columns = self.layout.shape
        return rows * columns

    @property
    def voxels(self) -> int:
        """Voxels made on the way, besides the planes as read."""
        n, rows, columns = self._grid().shape
        return rows * columns * ((n if self.upright else 0) + (self.slices or 0))

    def _grid(self) -> Grid:
        n = len(self.layout.shelves)
        return upright_grid(self.layout, n) if self.upright else self.layout.grid(n)

    def apply(self, planes: Tensor, background: float, history: History) -> tuple[Tensor, Grid, History]:
        """The volume, its grid and the history of what was done.

        Args:
            planes: (n, y, x) in the order of the layout.
            background: value outside shifted planes.
            history: so far.
        """
        grid = self._grid()
        if self.upright:
            planes = untilt(planes, self.layout, background)
            history = history.then("untilt", degrees=round(self.layout.tilt_degrees, 4), background=background)
        if self.slices is not None:
            step = round(self.layout.step, 6)
            history = history.then("resample-gaps", slices_read=len(planes), slices=self.slices, step_mm=step)
            planes = across_gaps(planes, self.layout)
            grid = Grid(tuple(planes.shape), grid.affine)
        return planes, grid, history


def plan_regular(layout: Layout, *, untilt: bool) -> Plan:
    """What has to be done, given that every error of the layout is lifted by an option.

    Raises:
        InputRefused: ``E-GEO-16``, too much would be interpolated.
    """
    gaps = GAP_CODES & {problem.code for problem in layout.problems if problem.severity == "error"}
    return Plan(layout, layout.tilted and untilt, check_interpolated(layout) if gaps else None)


def upright_grid(layout: Layout, slices: int) -> Grid:
    """The grid after :func:`untilt`: the planes' orientation, the normal as z axis."""
    (top, bottom), (left, right) = upright_margins(layout)
    _, rows, columns = layout.shape
    affine = layout.grid().affine.copy()
    affine[:3, 0] = layout.directions[0] * layout.step
    affine[:3, 3] -= affine[:3, 1] * top + affine[:3, 2] * left
    return Grid((slices, rows + top + bottom, columns + left + right), affine)
