"""Mean and spread of the samples of every solver beside those of a known posterior: the table of the README."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medldm.inference import BoundPrior, Gaussian, Noise, run
from medldm.operators import Diagonal, Space
from medldm.testing.closed_form import GaussianLatents, GaussianPrior
from medldm_solvers.dds import DDS
from medldm_solvers.diffpir import DiffPIR
from medldm_solvers.diffusion_mbir import DiffusionMBIR
from medldm_solvers.dps import DPS
from medldm_solvers.latent_zdds import LatentZDDS
from medldm_solvers.psld import PSLD
from medldm_solvers.red_diff import REDDiff
from medldm_solvers.resample import ReSample
from medldm_solvers.split_gibbs import SplitGibbs
from medldm_solvers.zdds import ZDDS

MEAN, STD, NOISE_STD, SEEN = 0.4, 0.3, 0.1, 1.0
SHAPE = (1, 64, 128)
IMAGE = Space(("z", "y", "x"), SHAPE, torch.float64)
SOLVERS: dict[str, Any] = {
    "zdds": ZDDS,
    "latent-zdds": LatentZDDS,
    "resample": ReSample,
    "psld": PSLD,
    "diffpir": DiffPIR,
    "dds": DDS,
    "split-gibbs": SplitGibbs,
    "dps": DPS,
    "red-diff": REDDiff,
    "diffusion-mbir": DiffusionMBIR,
}
LATENT = ("latent-zdds", "resample", "psld")


def rows() -> dict[str, list[float]]:
    """Of the README: name and options -> bias and spread of what is measured, of what is not."""
    page = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `([^`]+)` \|((?: [+-]?\d\.\d\d \|){4})$", page, flags=re.M)
    return {name: [float(cell) for cell in cells.split("|")[:-1]] for name, cells in found}


def found(name: str) -> list[float]:
    """Half of the voxels is measured with a third of the prior's spread for noise, the other half not at all."""
    solver, *options = name.split(", ")
    changed = {key: float(value) for key, value in (option.split(": ") for option in options)}
    d = torch.zeros(SHAPE, dtype=torch.float64)
    d[..., : SHAPE[-1] // 2] = 1
    likelihood = Gaussian(Diagonal(IMAGE, d), SEEN * d, NOISE_STD)
    prior: BoundPrior = GaussianPrior(IMAGE, torch.tensor(MEAN), STD)
    if solver in LATENT:
        prior = GaussianLatents(IMAGE, MEAN, STD, gain=1.0)
    if "steps" in changed:
        changed["steps"] = int(changed["steps"])
    start = (SEEN * d)[None]
    u = run(SOLVERS[solver](**changed).solve(likelihood, prior, start, Noise(3))).estimate
    measured, rest = u[..., : SHAPE[-1] // 2], u[..., SHAPE[-1] // 2 :]
    precision = NOISE_STD**-2 + STD**-2
    mean = (SEEN / NOISE_STD**2 + MEAN / STD**2) / precision
    return [*_against(measured, mean, precision**-0.5), *_against(rest, MEAN, STD)]


def _against(u: Tensor, mean: float, std: float) -> list[float]:
    return [(float(u.mean()) - mean) / std, float(u.std()) / std]


def test_the_table_has_every_solver_of_a_prior() -> None:
    assert {name.split(",")[0] for name in rows()} == set(SOLVERS)


@pytest.mark.parametrize("name", rows())
def test_the_samples_are_as_far_from_the_posteriors_as_the_table_says(name: str) -> None:
    """4096 draws: means within 0.016 spreads, one standard deviation, spreads within 1.1 per cent of theirs."""
    assert found(name) == pytest.approx(rows()[name], abs=0.05)
