"""Pictures of a training: a sheet of patches, and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor


def write_sheet(path: Path, rows: Sequence[tuple[str, Tensor]]) -> None:
    """Rows of pictures, each with its name at the left.

    Args:
        path: ``.png``, written aside and renamed.
        rows: name and (count, channel, *spatial) in model values; the middle channel and slice are shown, 0 black
            and 1 white.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(images) for _, images in rows)
    figure = Figure(figsize=(1.5 * columns + 1.2, 1.5 * len(rows) + 0.3))
    FigureCanvasAgg(figure)
    for r, (name, images) in enumerate(rows):
        for c in range(len(images)):
            axes = figure.add_axes(
                (
                    1.2 / (1.5 * columns + 1.2) + c * 1.5 / (1.5 * columns + 1.2),
                    1 - (r + 1) * 1.5 / (1.5 * len(rows) + 0.3),
                    1.45 / (1.5 * columns + 1.2),
                    1.45 / (1.5 * len(rows) + 0.3),
                )
            )
            axes.imshow(_plane(images[c]).cpu().numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_off()
        figure.text(0.01, 1 - (r + 0.5) * 1.5 / (1.5 * len(rows) + 0.3), name, fontsize=8, va="center")
    figure.text(0.01, 0.005, "Research use only. Made by a network: not scans.", fontsize=6)
    _save(figure, path)


def loss_curve(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Training loss and held-back figures over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    losses, figures = figure.subplots(1, 2)
    steps = [row["step"] for row in history]
    for name, label in (("loss", "training"), ("error", "held-back")):
        # Before the first step there is no loss of training.
        known = [row for row in history if name in row]
        if known:
            losses.plot([row["step"] for row in known], [row[name] for row in known], label=label)
    losses.set(xlabel="step", ylabel="loss", yscale="log")
    losses.legend()
    for name in [key for key in history[-1] if "dB" in key]:
        figures.plot(steps, [row.get(name, float("nan")) for row in history], label=name)
    figures.set(xlabel="step", ylabel="held-back PSNR, dB")
    if figures.has_data():
        figures.legend(fontsize=6)
    _save(figure, path)


def _plane(image: Tensor) -> Tensor:
    plane = image[len(image) // 2]
    while plane.ndim > 2:
        plane = plane[len(plane) // 2]
    return torch.nan_to_num(plane.float())


def _save(figure: object, path: Path) -> None:
    aside = path.with_name(f".{path.name}.part")
    figure.savefig(aside, format="png", dpi=80)  # type: ignore[attr-defined]
    aside.replace(path)
