"""Pictures of a benchmark suite: of every measurement one sheet, the truth beside what each method made of it."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from medldm.aside import whole_file
from medldm.data import Volume
from medldm.data.provenance import GENERATIVE, RESEARCH_ONLY
from medldm.pipeline.preview import canonical, difference, middle_slice, planes_seen, unit_of, window
from medldm.pipeline.suite import Row

# Columns of a sheet, and the width of each in inches; what has more methods goes on below.
_COLUMNS, _INCHES = 6, 2.3
# Of a stored measurement: a method's slice, and its difference to the truth, stand under its name behind these.
_METHOD, _AWAY = "method:", "away:"
# Width of a letter over the size of its font, at most in the mean of a line.
_LETTER = 0.62


class SuitePictures:
    """The middle slices of what a suite made, kept in a folder until they are drawn, so that a run can be resumed.

    Args:
        folder: of the sheets and, below ``slices``, of what they are drawn from; made when the first slice is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, row: Row, image: Volume, truth: Volume) -> None:
        """Keep the middle slice of a method's image, in the plane that shows most."""
        path = self._slices(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        data, spacing = canonical(truth)
        away, _ = canonical(difference(image, truth))
        plane = max(planes_seen(data.shape), key=lambda each: middle_slice(data, spacing, each)[0].size)
        reference, aspect = middle_slice(data, spacing, plane)
        kept = _load(path)
        if not np.array_equal(kept.get("truth", reference), reference):
            kept = {}  # of other slices, by an earlier run
        kept |= {
            "truth": reference,
            "aspect": np.array(aspect),
            "window": np.array(window(truth)),
            "plane": np.array(plane),
            "unit": np.array(unit_of(truth)),
            _METHOD + row.method: middle_slice(canonical(image)[0], spacing, plane)[0],
            _AWAY + row.method: middle_slice(away, spacing, plane)[0],
        }
        with whole_file(path) as aside:
            np.savez_compressed(aside, **kept)

    def draw(self, rows: Sequence[Row]) -> list[Path]:
        """Draw a sheet of each measurement of these rows whose slices were kept; the files."""
        sheets = []
        for group in dict.fromkeys((row.recipe, row.case, row.seed) for row in rows):
            members = [row for row in rows if (row.recipe, row.case, row.seed) == group]
            kept = _load(self._slices(members[0]))
            shown = [row for row in members if _METHOD + row.method in kept and not row.error]
            if shown:
                sheets.append(self.folder / f"{_file_name(members[0])}.png")
                _save_sheet(sheets[-1], shown, kept)
        return sheets

    def _slices(self, row: Row) -> Path:
        return self.folder / "slices" / f"{_file_name(row)}.npz"


def _file_name(row: Row) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{row.recipe}_{row.case}_{row.seed}")


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _save_sheet(path: Path, rows: Sequence[Row], kept: Mapping[str, NDArray[Any]]) -> None:
    """Bands of two rows: images in one window, below each its difference to the truth."""
    truth, limits = kept["truth"], (float(kept["window"][0]), float(kept["window"][1]))
    errors = [kept[_AWAY + row.method] for row in rows]
    # That of the method in the middle: a start image full of streaks would leave the others without a trace.
    span = float(np.median([np.percentile(np.abs(error), 99.5) for error in errors])) or 1.0
    bands = math.ceil((len(rows) + 1) / _COLUMNS)
    columns = math.ceil((len(rows) + 1) / bands)
    shape = float(kept["aspect"]) * truth.shape[0] / truth.shape[1]
    size = (_INCHES * columns, bands * (2 * _INCHES * shape + 0.3) + 0.7)
    close = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.04, wspace=0, hspace=0)
    figure = Figure(figsize=size, dpi=110, facecolor="black", layout=close)
    FigureCanvasAgg(figure)
    grid = figure.subplots(2 * bands, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    _show(grid[0][0], truth, kept, limits, "gray", "truth")
    for place, (row, error) in enumerate(zip(rows, errors, strict=True), 1):
        band, column = divmod(place, columns)
        psnr = row.metrics.get("psnr")
        title = row.method if psnr is None else f"{row.method}, {psnr:.2f} dB"
        _show(grid[2 * band][column], kept[_METHOD + row.method], kept, limits, "gray", title)
        _show(grid[2 * band + 1][column], error, kept, (-span, span), "berlin", "")
    first = rows[0]
    measured = f"SIMULATED measurement   |   {first.recipe}, {first.case}, seed {first.seed}"
    heading = f"{measured}: {kept['plane']} slice in the middle, dB of the volume"
    figure.suptitle(_broken(heading, size[0], 10), color="white", fontsize=10)
    unit = str(kept["unit"])
    ranges = (f"window {limits[0]:.4g} to {limits[1]:.4g} {unit}", f"difference to the truth ±{span:.3g} {unit}")
    said = "; ".join([*(each.rstrip() for each in ranges), RESEARCH_ONLY])
    below = "\n".join(_broken(line, size[0], 8) for line in (said, f"with a prior: {GENERATIVE}"))
    figure.supxlabel(below, color="0.8", fontsize=8)
    figure.savefig(path, facecolor="black", metadata={"Software": None})


def _broken(text: str, inches: float, points: int) -> str:
    """The text in lines that a sheet of that width holds, at a size in points."""
    return textwrap.fill(text, max(20, int(inches * 72 / (_LETTER * points))))


def _show(
    axes: Axes,
    picture: NDArray[Any],
    kept: Mapping[str, NDArray[Any]],
    limits: tuple[float, float],
    colours: str,
    title: str,
) -> None:
    low, high = limits
    axes.imshow(picture, cmap=colours, vmin=low, vmax=high, aspect=float(kept["aspect"]), interpolation="nearest")
    if title:
        axes.set_title(title, color="white", fontsize=9)
