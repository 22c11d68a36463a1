"""The public and training scans on which priors are measured: a few slices of each, in model values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medldm.data import Grid, ReadRequest
from medldm.host import Host
from medldm.pipeline.reading import read_image
from medldm.priors.card import Intensity
from medldm.priors.intensity import model_map

PUBLIC = {
    "MR": {
        "t1w-stripped-61": "t1w",
        "t1w-stripped-62": "t1w",
        "t1w-head-12": "t1w",
        "ms-t1-p07": "t1w",
        "ms-t2-p07": "t2w",
        "ms-flair-p07": "flair",
        "whole-head-t1": "t1w",
        "whole-head-t2w": "t2w",
        "whole-head-pd": None,
    },
    "CT": {"chest-256": None, "chest-512": None, "chest-b-256": None},
}
TRAINED = {
    "MR": {
        "t1w-stripped-01": "t1w",
        "t1w-head-01": "t1w",
        "ms-t2w-p01-study1": "t2w",
        "ms-flair-p03-study1": "flair",
    },
    "CT": {"chest-01": None, "abdomen-01": None},
}
INTENSITY = {"MR": Intensity("percentile", percentile=99.9), "CT": Intensity("window", -1000, 1000)}


@dataclass(frozen=True)
class Scan:
    """Some slices of a scan.

    Attributes:
        name: of the file.
        modality: CT or MR.
        contrast: what a prior may be told; None where none of its contrasts fits.
        slices: (n, y, x) model values.
        grid: of the slices.
    """

    name: str
    modality: str
    contrast: str | None
    slices: Tensor
    grid: Grid


def read_scans(host: Host, data: Path, which: dict[str, dict[str, str | None]], side: str, count: int) -> list[Scan]:
    """``count`` slices of each scan, evenly from the middle 80 % of it; one is that in the middle."""
    scans = []
    for modality, names in which.items():
        for name, contrast in names.items():
            path = data / side / ("mri" if modality == "MR" else "ct") / f"{name}.nii.gz"
            volume = read_image(host, path, ReadRequest(modality=modality))
            image = model_map(INTENSITY[modality], volume.data, volume.quantity)(volume.data)
            depth = len(image)
            first, last = (0.1 * depth, 0.9 * depth - 1) if count > 1 else (0.5 * depth - 0.5,) * 2
            chosen = np.unique(np.linspace(first, last, count).round().astype(int))
            affine = volume.grid.affine.copy()
            if len(chosen) > 1:
                affine[:, 0] *= (chosen[-1] - chosen[0]) / (len(chosen) - 1)
            grid = Grid((len(chosen), *image.shape[1:]), affine)
            scans.append(Scan(name, modality, contrast, image[torch.from_numpy(chosen)].contiguous(), grid))
    return scans


def psnr(estimate: Tensor, truth: Tensor, modality: str) -> float:
    """dB: MR against the largest value of the slices; CT within the window, against its width."""
    if modality == "CT":
        return _decibel(estimate.clamp(0, 1), truth.clamp(0, 1), 1.0)
    return _decibel(estimate, truth, float(truth.max()))


def _decibel(estimate: Tensor, truth: Tensor, peak: float) -> float:
    return 10 * float(np.log10(peak**2 / float((estimate - truth).double().square().mean())))
