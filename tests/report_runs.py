"""Small finished output folders for the tests of reports, made by the pipeline itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from medldm.data import Grid, Volume
from medldm.pipeline.recipe import from_mapping
from medldm.pipeline.reconstruct import Reconstruction, reconstruct
from medldm.report import report_page

RECIPE: dict[str, Any] = {
    "acquisition": {"physics": "mri-cartesian", "coils": 4, "mask": {"kind": "variable-density-1d", "acceleration": 2}},
    "operator": {"maps": "simulated"},
    "solver": {"name": "cg-sense", "iterations": 6},
    "outputs": {"gates": {"chi_max": 2.0}},
    "run": {"seed": 7},
}


def phantom(brightness: float = 100.0) -> Volume:
    """An ellipsoid with a hole, of voxels that are not cubes."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (6, 40, 32)), indexing="ij")
    inside = (0.5 * z**2 + (1.2 * y) ** 2 + (1.1 * x) ** 2 < 0.9) & ((y - 0.3) ** 2 + x**2 > 0.03)
    data = torch.from_numpy((brightness * (1 + 0.5 * np.sin(6 * y)) * inside).astype(np.float32))
    return Volume(data, Grid.isotropic((6, 40, 32), (4.0, 1.5, 2.0)), "arbitrary", "MR", name="phantom")


def finished(out: Path, brightness: float = 100.0, slices: slice | None = None, **sections: Any) -> Reconstruction:
    """A run of a second, with a report in its folder."""
    recipe = from_mapping("small", {**RECIPE, **sections})
    return reconstruct(
        phantom(brightness), out, recipe=recipe, simulate=True, slices=slices, device="cpu", pages=[report_page]
    )
