"""Pictures of priors, and how far their samples are from what they were trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from priors_scans import Scan
from torch import Tensor

from medldm.data import Grid
from medldm.inference.schedule import noise_levels
from medldm.priors.model import PriorModel
from medldm.training.sampling import heun_samples

# Slices are compared at this many samples along each axis: detail would drown the question whether the anatomy is one.
_COMPARED = 32


@torch.no_grad()
def unconditional_samples(model: PriorModel, count: int, size: int, steps: int = 32) -> Tensor:
    """(count, size, size) samples from pure noise, Heun's method, told nothing but what the card always tells."""
    prior = model.on(Grid.isotropic((count, size, size)), facts={"spacing_mm": 1.0}, slices_at_once=4)
    start = torch.randn(1, *prior.space.shape, generator=torch.Generator().manual_seed(3))
    states = heun_samples(prior.denoise, start, noise_levels(steps, prior.sigma_min, prior.sigma_max))
    return prior.decode(states)[0]


@dataclass(frozen=True)
class Memorisation:
    """Mean distances ``1 - correlation`` to the nearest training slice, and the neighbours of the samples.

    Attributes:
        samples: of samples.
        public: of slices of public subjects.
        trained: of training slices to those of other subjects.
        nearest: (samples, y, x) training slices nearest to the samples.
    """

    samples: float
    public: float
    trained: float
    nearest: list[Tensor]


def memorisation(drawn: Tensor, trained: Sequence[Tensor], public: Sequence[Tensor]) -> Memorisation:
    """Compare samples with training slices (a list of slices per scan), and real slices with them likewise."""
    slices = [one for scan in trained for one in scan]
    owner = np.array([index for index, scan in enumerate(trained) for _ in scan])
    features = torch.stack([_feature(one) for one in slices])
    from_samples = 1 - torch.stack([_feature(one) for one in drawn]) @ features.T
    from_public = 1 - torch.stack([_feature(one) for scan in public for one in scan]) @ features.T
    among = 1 - features @ features.T
    among[torch.from_numpy(owner[:, None] == owner[None, :])] = float("inf")
    nearest = [slices[int(index)] for index in from_samples.argmin(1)]
    means = [float(distance.min(1).values.mean()) for distance in (from_samples, from_public, among)]
    return Memorisation(means[0], means[1], means[2], nearest)


def _feature(image: Tensor) -> Tensor:
    """A slice cropped to its object, made small, centred and of unit norm."""
    filled = image > 0.1
    rows, columns = filled.any(1).nonzero(), filled.any(0).nonzero()
    if len(rows):
        image = image[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    small = torch.nn.functional.interpolate(image[None, None], size=(_COMPARED,) * 2, mode="area").flatten()
    small = small - small.mean()
    return small / small.norm().clamp(min=1e-6)


def write_memorisation(path: Path, drawn: Tensor, report: Memorisation, public: Sequence[Scan]) -> None:
    """Samples, the training slice nearest to each, and real slices of public subjects."""
    real = [scan.slices[len(scan.slices) // 2] for scan in public][: len(drawn)]
    _grid(path, {"samples": list(drawn), "nearest in training": report.nearest, "public, real": real})


def write_denoising(path: Path, shown: Sequence[tuple[str, Tensor, Mapping[str, Tensor]]]) -> None:
    """For each volume: the truth and what each method makes of it."""
    rows = {}
    for name, truth, results in shown:
        middle = len(truth) // 2
        rows[name] = [truth[middle], *(image[middle] for image in results.values())]
    titles = ["truth", *shown[0][2]]
    _grid(path, rows, titles)


def _grid(path: Path, rows: Mapping[str, Sequence[Tensor]], titles: Sequence[str] = ()) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(images) for images in rows.values())
    figure = Figure(figsize=(1.7 * columns + 0.4, 1.75 * len(rows) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for column, one in enumerate(line):
            one.set_xticks([])
            one.set_yticks([])
            one.set_frame_on(False)
            if column < len(images):
                one.imshow(images[column].numpy(), cmap="gray", vmin=0, vmax=1)
        line[0].set_ylabel(name, fontsize=7)
    for one, title in zip(axes[0], titles, strict=False):
        one.set_title(title, fontsize=8)
    figure.supxlabel("Research use only. Made by a diffusion prior, or denoised by one: not scans.", fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
