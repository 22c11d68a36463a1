"""A case measured and posed by a recipe, for solvers that are no plugins: same data, operator, prior and figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from medldm.data import Acquisition, ReadRequest, Volume
from medldm.host import Host
from medldm.inference import DiffusionPrior, run
from medldm.pipeline.classical import start_image
from medldm.pipeline.events import Teller
from medldm.pipeline.metrics import compare
from medldm.pipeline.posing import Posed, finished_volume, pose, with_solver
from medldm.pipeline.problem import Problem, problem_of
from medldm.pipeline.reading import case_hash, read_case
from medldm.pipeline.recipe import Recipe
from medldm.pipeline.simulate import measure


class Counted:
    """A prior that counts the calls of its networks; a volume is one call, however many slices it has."""

    def __init__(self, prior: DiffusionPrior) -> None:
        self.prior, self.calls = prior, 0

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        self.calls += 1
        return self.prior.denoise(x, sigma)

    def __getattr__(self, name: str) -> object:
        return getattr(self.prior, name)


@dataclass(frozen=True)
class Row:
    """What one method made of one case; seconds are the processor's."""

    method: str
    psnr: float
    chi: float
    seconds: float
    calls: int


@dataclass(frozen=True, eq=False)
class PosedCase:
    """A measurement of the middle slices of a volume, and the recipe's problem in the units of its prior."""

    host: Host
    recipe: Recipe
    truth: Volume
    acquisition: Acquisition
    posed: Posed
    start: Tensor
    problem: Problem

    @property
    def modality(self) -> str:
        """``CT`` or ``MR``."""
        return modality_of(self.recipe)

    @property
    def iterations(self) -> dict[str, object]:
        """What the recipe says of its data steps, for solvers that have the same."""
        solver = self.recipe.solver
        return {"cg_iterations": solver["cg_iterations"]} if "cg_iterations" in solver else {}

    def row(self, method: str, solve: Callable[[Counted], Tensor]) -> Row:
        """Run a method, which is given the counted prior and gives an image (1, z, y, x) in the prior's units."""
        prior = Counted(self.problem.prior)
        begin = time.process_time()
        estimate = solve(prior)
        seconds = time.process_time() - begin
        scan = self.problem.on_scan(estimate)
        volume = finished_volume(scan, self.acquisition, self.truth, method, self.problem.events)
        chi = float(self.problem.likelihood.chi(estimate).mean())
        return Row(method, compare(self.host, volume, self.truth)["psnr"], chi, seconds, prior.calls)

    def shipped(self, method: str, options: dict[str, object], note: str = "") -> Row:
        """Run a solver of this package on the same measurement; what is left out is the recipe's, else its default."""
        changed = self.recipe.as_dict()
        own = self.recipe.solver
        changed["solver"] = {**(own if own["name"] == method else {}), "name": method, **options}
        recipe = Recipe(name=self.recipe.name, **changed)
        posed = with_solver(self.host, recipe, self.posed)
        problem = problem_of(posed, self.start, 1, Teller(()))

        def solve(prior: Counted) -> Tensor:
            solver = posed.solver.solve(problem.likelihood, prior, problem.start, problem.noise)
            return run(solver).estimate

        return self.row(f"medldm {method}{note}", solve)


def modality_of(recipe: Recipe) -> str:
    """``CT`` or ``MR``, which a NIfTI file does not tell."""
    return "CT" if recipe.physics.startswith("ct") else "MR"


def posed_case(host: Host, recipe: Recipe, path: Path, slices: int) -> PosedCase:
    """Measure the middle slices of a volume as the recipe says, and pose the problem."""
    volume = read_case(host, path, ReadRequest(modality=modality_of(recipe)))
    first = max(0, (volume.grid.shape[0] - slices) // 2)
    volume = volume.cropped(slice(first, first + slices))
    acquisition = measure(host, recipe, volume, Teller(()))
    posed = pose(host, recipe, acquisition, case_hash(volume), torch.device("cpu"))
    start = start_image(host, recipe, posed)
    return PosedCase(host, recipe, volume, acquisition, posed, start, problem_of(posed, start, 1, Teller(())))
