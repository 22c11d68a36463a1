"""``preview.png``: three planes of input, baseline, reconstruction and difference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medldm.data import Grid, Volume
from medldm.data.provenance import GENERATIVE, RESEARCH_ONLY

_PLANES = ("axial", "coronal", "sagittal")
# Fixed (centre, width) in HU for the chest and abdomen together, where a scan does not ask for its own window.
_CT_WINDOW = (-200.0, 1600.0)
_COLUMN_INCHES = 3.1
Image = NDArray[np.float32]


def save_preview(path: Path, image: Volume, baseline: Volume, truth: Volume | None, record: Mapping[str, Any]) -> Path:
    """Draw and save the preview; all pictures of a row share one window.

    Args:
        path: PNG file to write.
        image: the reconstruction.
        baseline: the start image.
        truth: the image measured, or a reference; None leaves its column out.
        record: of the run, for the caption.
    """
    columns = [("start image", baseline), ("reconstruction", image)]
    if truth is not None:
        columns.insert(0, ("input (truth)" if record["simulated"] else "reference", truth))
    reference = truth or baseline
    low, high = window(reference)
    difference = image.data.abs().float() if image.data.is_complex() else image.data.float()
    other = reference.data.abs() if reference.data.is_complex() else reference.data
    error = (difference.cpu() - other.cpu()).numpy()
    span = max(float(np.percentile(np.abs(error[:: max(1, error.shape[0] // 16)]), 99.5)), 1e-6 * (high - low))
    titles = [title for title, _ in columns] + ["reconstruction - " + ("input" if truth is not None else "start")]
    stacks = [canonical(volume) for _, volume in columns]
    stacks.append(canonical(Volume(torch.from_numpy(error), image.grid)))

    heights = [_COLUMN_INCHES * max(_height_over_width(*stacks[0], plane), 0.2) for plane in _PLANES]
    size = (_COLUMN_INCHES * len(titles), sum(heights) + 1.0)
    figure = Figure(figsize=size, dpi=110, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(3, len(titles), squeeze=False, height_ratios=heights)
    for row, plane in enumerate(_PLANES):
        for column, (data, spacing) in enumerate(stacks):
            axes = grid[row][column]
            last = column == len(titles) - 1
            limits = (-span, span) if last else (low, high)
            _show(axes, data, spacing, plane, limits, "RdBu_r" if last else "gray")
            if row == 0:
                axes.set_title(titles[column], color="white", fontsize=10)
            if column == 0:
                axes.set_ylabel(plane, color="white", fontsize=10)
    unit = {"HU": " HU", "1/mm": " /mm", "arbitrary": ""}[image.quantity]
    figure.suptitle(_caption(record), color="white", fontsize=10)
    warning = f"\n{GENERATIVE}" if record.get("generative") else ""
    figure.supxlabel(
        f"window {low:.4g} to {high:.4g}{unit}, difference ±{span:.3g}{unit}; "
        f"patient's right on the left; {RESEARCH_ONLY}{warning}",
        color="0.8",
        fontsize=8,
    )
    figure.savefig(path, facecolor="black", metadata={"Software": None})
    return path


def _caption(record: Mapping[str, Any]) -> str:
    parts = ["SIMULATED measurement"] if record["simulated"] else []
    parts.append(f"recipe {record['recipe']['name']}, solver {record['recipe']['solver']['name']}")
    for name in ("baseline", "reconstruction"):
        values = record["metrics"].get(name, {})
        if "psnr" in values:
            parts.append(f"{name} {values['psnr']:.2f} dB")
    return "   |   ".join(parts)


def window(volume: Volume) -> tuple[float, float]:
    """Grey-value limits: the scan's own window, else -1000 to 600 HU for CT, else 0 to the 99.7th percentile."""
    if volume.quantity == "HU":
        centre, width = volume.display or _CT_WINDOW
        return centre - width / 2, centre + width / 2
    magnitudes = volume.data.abs().flatten()
    values = magnitudes[:: max(1, magnitudes.numel() // 1_000_000)].cpu().numpy()
    return 0.0, max(float(np.percentile(values, 99.7)), float(np.finfo(np.float32).tiny))


def canonical(volume: Volume) -> tuple[Image, tuple[float, float, float]]:
    """The volume turned so that z runs to Superior, y to Posterior, x to Left, with its spacing in that order.

    Each axis goes to the nearest patient axis: pictures only; nothing is resampled.
    """
    order, flips = _canonical_axes(volume.grid)
    data = volume.data.abs() if volume.data.is_complex() else volume.data
    turned = data.cpu().permute(order).flip([axis for axis, flip in enumerate(flips) if flip]).numpy()
    spacing = volume.grid.spacing
    return turned, (spacing[order[0]], spacing[order[1]], spacing[order[2]])


def _canonical_axes(grid: Grid) -> tuple[tuple[int, int, int], list[bool]]:
    directions = grid.directions
    remaining = [0, 1, 2]
    order, flips = [], []
    for world in (2, 1, 0):
        axis = max(remaining, key=lambda candidate: abs(directions[world, candidate]))
        remaining.remove(axis)
        order.append(axis)
        flips.append(bool(directions[world, axis] < 0))
    return (order[0], order[1], order[2]), flips


def _cut(data: Image, spacing: tuple[float, float, float], plane: str) -> tuple[Image, float]:
    """The middle slice of a plane, rows from top to bottom, and the height of its pixels over their width."""
    z, y, x = data.shape
    if plane == "axial":
        return data[z // 2], spacing[1] / spacing[2]
    if plane == "coronal":
        return data[::-1, y // 2], spacing[0] / spacing[2]
    return data[::-1, :, x // 2], spacing[0] / spacing[1]


def _height_over_width(data: Image, spacing: tuple[float, float, float], plane: str) -> float:
    picture, aspect = _cut(data, spacing, plane)
    return float(picture.shape[0] * aspect / picture.shape[1])


def _show(
    axes: Axes, data: Image, spacing: tuple[float, float, float], plane: str, limits: tuple[float, float], cmap: str
) -> None:
    picture, aspect = _cut(data, spacing, plane)
    axes.imshow(picture, cmap=cmap, vmin=limits[0], vmax=limits[1], aspect=aspect, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
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
        )
