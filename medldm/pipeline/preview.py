"""``preview.png``: three planes of input, baseline, reconstruction, difference, spread and what came from the prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from medldm.data import Volume
from medldm.data.provenance import FAILED, GENERATIVE, RESEARCH_ONLY
from medldm.data.volume import AIR_HU
from medldm.pipeline.maps import PRIOR_SHARE, SPREAD, Map
from medldm.priors.planes import pose_of

PLANES = ("axial", "coronal", "sagittal")
# Fixed (centre, width) in HU for the chest and abdomen together, where a scan does not ask for its own window.
_CT_WINDOW = (-200.0, 1600.0)
_COLUMN_INCHES = 3.1
# Height over width of a row: a few slices seen from the side are a strip, and stay one within a row of this shape.
_FLATTEST, _TALLEST = 0.2, 1.6
_PRIOR = "what came from the prior"
NO_SIDES = "the file does not say which side is the patient's right"
Image = NDArray[np.float32]


@dataclass(frozen=True)
class _Column:
    """One column of the sheet: the same volume in three planes, its grey values or colours, and what these are."""

    title: str
    volume: Volume
    limits: tuple[float, float]
    colours: str = "gray"
    label: str = ""
    gamma: float = 1.0


def save_preview(
    path: Path,
    image: Volume,
    baseline: Volume,
    truth: Volume | None,
    record: Mapping[str, Any],
    maps: Mapping[str, Map] | None = None,
) -> Path:
    """Draw and save the preview; all images share one window, each map has its own scale.

    Args:
        path: PNG file to write.
        image: the reconstruction.
        baseline: the start image.
        truth: the image measured, or a reference; None leaves its column out.
        record: of the run, for the caption.
        maps: of uncertainty; the spread and the share of the prior are shown where they are among them.
    """
    low, high = window(truth or baseline)
    columns = _columns(image, baseline, truth, record, maps or {})
    stacks = [canonical(column.volume) for column in columns]

    planes = planes_seen(stacks[0][0].shape)
    shapes = [_height_over_width(*stacks[0], plane) for plane in planes]
    heights = [_COLUMN_INCHES * min(max(shape, _FLATTEST), _TALLEST) for shape in shapes]
    size = (_COLUMN_INCHES * len(columns), sum(heights) + 1.6)
    figure = Figure(figsize=size, dpi=110, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(planes), len(columns), squeeze=False, height_ratios=heights)
    for number, (column, (data, spacing)) in enumerate(zip(columns, stacks, strict=True)):
        for row, plane in enumerate(planes):
            drawn = _show(grid[row][number], data, spacing, plane, column)
            if image.history.orientation_known:
                _letter(grid[row][number], plane)
            if number == 0:
                grid[row][0].set_ylabel(plane, color="white", fontsize=10)
        grid[0][number].set_title(column.title, color="white", fontsize=10)
        bar = figure.colorbar(drawn, ax=list(grid[:, number]), location="bottom", shrink=0.8, aspect=30, pad=0.01)
        bar.locator = MaxNLocator(nbins=5)  # small numbers in 1/mm are long
        bar.set_label(column.label or unit_of(image) or "signal", color="0.8", fontsize=8)
        bar.ax.tick_params(colors="0.8", labelsize=7)
    figure.suptitle(_caption(record), color="white", fontsize=10)
    warning = f"\n{GENERATIVE}" if record.get("generative") else ""
    sides = "patient's right on the left" if image.history.orientation_known else NO_SIDES
    figure.supxlabel(
        f"window {low:.4g} to {high:.4g} {unit_of(image)}".rstrip() + f"; {sides}; {RESEARCH_ONLY}{warning}",
        color="0.8",
        fontsize=8,
    )
    figure.savefig(path, facecolor="black", metadata={"Software": None})
    return path


def _columns(
    image: Volume, baseline: Volume, truth: Volume | None, record: Mapping[str, Any], maps: Mapping[str, Map]
) -> list[_Column]:
    limits = window(truth or baseline)
    columns = [_Column("start image", baseline, limits), _Column("reconstruction", image, limits)]
    if truth is not None:
        columns.insert(0, _Column("input (truth)" if record["simulated"] else "reference", truth, limits))
    error = difference(image, truth or baseline)
    span = max(largest(error), 1e-6 * (limits[1] - limits[0]))
    title = "reconstruction - " + ("input" if truth is not None else "start")
    columns.append(_Column(title, error, (-span, span), "RdBu_r", f"difference {unit_of(image)}"))
    if SPREAD in maps:
        spread = maps[SPREAD].volume
        top = max(largest(spread), 1e-6 * (limits[1] - limits[0]))
        number = record["uncertainty"]["samples"]
        label = f"standard deviation {unit_of(image)}"
        columns.append(_Column(f"spread of {number} samples", spread, (0.0, top), "magma", label))
    if PRIOR_SHARE in maps:
        share = maps[PRIOR_SHARE].volume
        columns.append(_Column(_PRIOR, share, (0.0, 1.0), "viridis", "share of the voxel's value", gamma=0.5))
    return columns


def difference(image: Volume, reference: Volume) -> Volume:
    """Image minus reference, as pictures show it: of magnitudes, and with air where one in HU holds less."""
    return Volume((_shown_values(image) - _shown_values(reference)).float(), image.grid)


def _shown_values(volume: Volume) -> Tensor:
    """Magnitudes of complex values; of HU nothing below air, which holds padding and what a detector cannot tell."""
    data = volume.data.cpu()
    data = data.abs() if data.is_complex() else data
    return data.clamp_min(AIR_HU) if volume.quantity == "HU" else data


def largest(volume: Volume) -> float:
    """The 99.5th percentile of the magnitudes of a part of the slices."""
    data = volume.data.abs().cpu().numpy()
    return float(np.percentile(data[:: max(1, data.shape[0] // 16)], 99.5))


def unit_of(volume: Volume) -> str:
    """As it is printed behind a number; empty where units are arbitrary."""
    return {"HU": "HU", "1/mm": "/mm", "arbitrary": ""}[volume.quantity]


def _caption(record: Mapping[str, Any]) -> str:
    parts = [FAILED] if record.get("gates_failed") else []
    parts += ["SIMULATED measurement"] if record["simulated"] else []
    parts.append(f"recipe {record['recipe']['name']}, solver {record['recipe']['solver']['name']}")
    for name, title in (("baseline", "start image"), ("reconstruction", "reconstruction")):
        values = record["metrics"].get(name, {})
        if "psnr" in values:
            parts.append(f"{title} PSNR {values['psnr']:.2f} dB")
    return "   |   ".join(parts)


def window(volume: Volume) -> tuple[float, float]:
    """Grey-value limits: the scan's own window, else -1000 to 600 HU for CT, else 0 to the 99.7th percentile.

    Of an image that is nearly or wholly zero, 0 to the maximum or to 1.
    """
    if volume.quantity == "HU":
        centre, width = volume.display or _CT_WINDOW
        return centre - width / 2, centre + width / 2
    magnitudes = volume.data.abs().flatten()
    values = magnitudes[:: max(1, magnitudes.numel() // 1_000_000)].cpu().numpy()
    return 0.0, float(np.percentile(values, 99.7)) or float(values.max()) or 1.0


def canonical(volume: Volume) -> tuple[Image, tuple[float, float, float]]:
    """The volume turned so that z runs to Superior, y to Posterior, x to Left, with its spacing in that order.

    Each axis goes to the nearest patient axis: pictures only; nothing is resampled.
    """
    pose, spacing = pose_of(volume.grid), volume.grid.spacing
    data = volume.data.abs() if volume.data.is_complex() else volume.data
    z, y, x = pose.order
    return data.cpu().permute(z, y, x).flip(pose.mirrored).numpy(), (spacing[z], spacing[y], spacing[x])


def planes_seen(shape: tuple[int, ...]) -> tuple[str, ...]:
    """The planes whose slices of a volume (z, y, x) are pictures, not lines; axial where none is."""
    seen = []
    for axis, plane in enumerate(PLANES):
        rows, columns = (n for other, n in enumerate(shape) if other != axis)
        if rows > 1 and columns > 1:
            seen.append(plane)
    return tuple(seen) or PLANES[:1]


def middle_slice(data: Image, spacing: tuple[float, float, float], plane: str) -> tuple[Image, float]:
    """The middle slice of a plane, rows from top to bottom, and the height of its pixels over their width."""
    z, y, x = data.shape
    if plane == "axial":
        return data[z // 2], spacing[1] / spacing[2]
    if plane == "coronal":
        return data[::-1, y // 2], spacing[0] / spacing[2]
    return data[::-1, :, x // 2], spacing[0] / spacing[1]


def _height_over_width(data: Image, spacing: tuple[float, float, float], plane: str) -> float:
    picture, aspect = middle_slice(data, spacing, plane)
    return float(picture.shape[0] * aspect / picture.shape[1])


def _show(axes: Axes, data: Image, spacing: tuple[float, float, float], plane: str, column: _Column) -> AxesImage:
    picture, aspect = middle_slice(data, spacing, plane)
    scale = PowerNorm(column.gamma, *column.limits) if column.gamma != 1 else Normalize(*column.limits)
    shown = axes.imshow(picture, cmap=column.colours, norm=scale, aspect=aspect, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    return shown


def _letter(axes: Axes, plane: str) -> None:
    """The sides of the patient, to be read on white and on black."""
    for letter, place in zip(("R", "L") if plane != "sagittal" else ("A", "P"), (0.02, 0.98), strict=True):
        axes.text(
            place,
            0.5,
            letter,
            transform=axes.transAxes,
            color="yellow",
            fontsize=8,
            va="center",
            ha="left" if place < 0.5 else "right",
            path_effects=[withStroke(linewidth=2, foreground="black")],
        )
