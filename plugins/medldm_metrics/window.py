"""What is compared with what, in which window: the part that all metrics share.

CT (the truth is in HU): both images are clipped to [-1000, 1000] HU and counted from -1000, the range is 2000, and
only voxels inside the field of view count: within the circle inscribed into the slice (in mm, in the plane of the
tensor's y and x) where the truth is above -1023 HU, since scanners store -1024 and less where they measured nothing.
Outside, both images are set to air.

Anything else: no clipping, the range is the truth's largest magnitude, which lies inside the object, and all voxels
count.

The estimate is never rescaled. Where one of the two is real and the other complex, magnitudes are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from medldm.data import Grid, Volume
from medldm.errors import InputRefused

HU_LOW, HU_HIGH = -1000.0, 1000.0
HU_PADDING = -1023.0
# World axes of LPS and the planes they are normal to.
PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images (z, y, x) on one grid in one window.

    Attributes:
        estimate, truth: both real, or both complex.
        data_range: peak of the window, in their unit.
        inside: (z, y, x) bool, the voxels that count; None for all.
        planes: tensor axis that the slices of each plane are stacked along.
    """

    estimate: Tensor
    truth: Tensor
    data_range: float
    inside: Tensor | None
    planes: dict[str, int]

    def slabs(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(estimate, truth, inside) of one slice along z after another, to bound the memory."""
        for k in range(self.truth.shape[0]):
            truth = self.truth[k]
            inside = torch.ones_like(truth, dtype=torch.bool) if self.inside is None else self.inside[k]
            yield self.estimate[k], truth, inside

    def magnitudes(self) -> Pair:
        """The pair with complex images replaced by their magnitudes."""
        if not self.truth.is_complex():
            return self
        return Pair(self.estimate.abs(), self.truth.abs(), self.data_range, self.inside, self.planes)


def planes_of(grid: Grid) -> dict[str, int]:
    """The tensor axis nearest to the normal of the axial, coronal and sagittal plane; each axis once."""
    named = {PLANES[world]: axis for axis, world in enumerate(grid.patient_axes)}
    return {name: named[name] for name in ("axial", "coronal", "sagittal")}


def field_of_view(truth: Volume) -> Tensor:
    """(z, y, x) bool: the circle inscribed into each slice, without the voxels that the scanner padded."""
    _, rows, columns = truth.grid.shape
    _, dy, dx = truth.grid.spacing
    device = truth.data.device
    y = (torch.arange(rows, device=device) - (rows - 1) / 2) * dy
    x = (torch.arange(columns, device=device) - (columns - 1) / 2) * dx
    circle = y[:, None] ** 2 + x**2 <= (min(rows * dy, columns * dx) / 2) ** 2
    return circle & (truth.data > HU_PADDING)


def pair(estimate: Volume, truth: Volume) -> Pair:
    """The two images as they are compared.

    Raises:
        InputRefused: E-MET-01 different grids, E-MET-02 NaN or infinite values, E-MET-03 different units, E-MET-04
            nothing in the truth to compare with.
    """
    _require_comparable(estimate, truth)
    planes = planes_of(truth.grid)
    shown, true = estimate.data.to(truth.data.device), truth.data
    if truth.quantity == "HU":
        inside = field_of_view(truth)
        if not bool(inside.any()):
            raise _empty("no voxel of it lies inside the field of view")
        shown = shown.abs() if shown.is_complex() else shown
        clipped = [image.clamp(HU_LOW, HU_HIGH).sub_(HU_LOW).masked_fill_(~inside, 0.0) for image in (shown, true)]
        return Pair(clipped[0], clipped[1], HU_HIGH - HU_LOW, inside, planes)
    # A magnitude says nothing of the phase: held against a complex image it would be judged by the phase alone.
    if not (shown.is_complex() and true.is_complex()):
        shown, true = (image.abs() if image.is_complex() else image for image in (shown, true))
    peak = float(true.abs().max())
    if peak == 0:
        raise _empty("it is zero everywhere")
    return Pair(shown, true, peak, None, planes)


def _require_comparable(estimate: Volume, truth: Volume) -> None:
    if estimate.grid != truth.grid:
        raise InputRefused(
            "E-MET-01",
            f"The image has {estimate.grid.shape} voxels of {_sizes(estimate)} mm, the truth {truth.grid.shape} of "
            f"{_sizes(truth)} mm, or they lie in different places.",
            why="Metrics compare voxel by voxel; nothing is resampled in silence.",
            fix="Bring both onto one grid first.",
        )
    for name, volume in (("image", estimate), ("truth", truth)):
        bad = int((~torch.isfinite(volume.data)).sum())
        if bad:
            raise InputRefused(
                "E-MET-02",
                f"{bad} voxels of the {name} are NaN or infinite.",
                why="No metric of them is a number.",
                fix="Repair the image.",
            )
    if estimate.quantity != truth.quantity:
        raise InputRefused(
            "E-MET-03",
            f"The image is in {estimate.quantity}, the truth in {truth.quantity}.",
            why="The estimate is never rescaled to the truth.",
            fix="Convert one of them, or state the modality of both with --modality.",
        )


def _empty(reason: str) -> InputRefused:
    return InputRefused(
        "E-MET-04",
        f"The truth holds nothing to compare with: {reason}.",
        fix="Check that the truth is the right image and in the right unit.",
    )


def _sizes(volume: Volume) -> str:
    return " x ".join(f"{s:.4g}" for s in volume.grid.spacing)
