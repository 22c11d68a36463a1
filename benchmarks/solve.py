"""How long a whole reconstruction takes, and how much of it the networks do.

    python benchmarks/solve.py                     20 steps, 64 slices of 160 x 160, MR with 8 coils, 4-fold
    python benchmarks/solve.py --steps 50 --recipe mri-8x --slices 32

The sample brain, brought to that size, is measured by the recipe and reconstructed with zdds (pixel prior) and
latent-zdds. Coil maps and the start image are timed apart; the trial against the classical method is left out.
Wall-clock seconds of one run after one step as a warm-up.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from medldm.data import Grid, ReadRequest, Volume
from medldm.host import Host, load_host
from medldm.host.shipped import shipped
from medldm.inference import Solver, run
from medldm.pipeline.classical import start_image
from medldm.pipeline.events import Teller
from medldm.pipeline.posing import pose
from medldm.pipeline.problem import Problem, problem_of
from medldm.pipeline.reading import case_hash, read_case
from medldm.pipeline.recipe import Recipe, load_recipe
from medldm.pipeline.simulate import measure

METHODS = {"zdds": "brain-mr-2d-pixel", "latent-zdds": "brain-mr-2d-latent"}


class Timed:
    """A prior whose networks' time is summed up."""

    def __init__(self, prior: object) -> None:
        self.prior, self.seconds = prior, 0.0

    def __getattr__(self, name: str) -> object:
        found = getattr(self.prior, name)
        return self._timed(found) if name in ("denoise", "encode", "decode") else found

    def _timed(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def timed(*arguments: Tensor) -> Tensor:
            begin = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.perf_counter() - begin

        return timed


def brain(host: Host, slices: int, size: int) -> Volume:
    """The sample brain on a grid of that size."""
    volume = read_case(host, shipped("sample_data") / "brain-t1w.nii.gz", ReadRequest(modality="MR"))
    data = functional.interpolate(volume.data[None, None], (slices, size, size), mode="trilinear")[0, 0]
    return replace(volume, data=data, grid=Grid.isotropic((slices, size, size), (1.0, 1.0, 1.0)))


def posed_problem(host: Host, recipe: Recipe, volume: Volume) -> tuple[Solver, Problem]:
    """The solver and the measured and posed problem; prints how long its parts took."""
    acquisition = measure(host, recipe, volume, Teller(()))
    begin = time.perf_counter()
    posed = pose(host, recipe, acquisition, case_hash(volume), torch.device("cpu"))
    maps = time.perf_counter() - begin
    start = start_image(host, recipe, posed)
    print(f"  coil maps and weights {maps:.1f} s, start image {time.perf_counter() - begin - maps:.1f} s", flush=True)
    return posed.solver, problem_of(posed, start, 1, Teller(()))


def main() -> None:
    """Parse and time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="mri-4x")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--slices", type=int, default=64)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    host = load_host()
    volume = brain(host, arguments.slices, arguments.size)
    shape = f"{arguments.slices} x {arguments.size} x {arguments.size}"
    print(f"{arguments.recipe}, {shape}, {arguments.steps} steps, {torch.get_num_threads()} threads")
    for method in arguments.methods:
        plain = load_recipe(arguments.recipe).as_dict()
        plain |= {"solver": {"name": method, "steps": arguments.steps}, "prior": {"name": METHODS[method]}}
        solver, posed = posed_problem(host, Recipe(name=arguments.recipe, **plain), volume)
        assert posed.prior is not None
        warm_up = replace(solver, steps=1)
        run(warm_up.solve(posed.likelihood, posed.prior, posed.start, posed.noise))
        timed, begin = Timed(posed.prior), time.perf_counter()
        run(solver.solve(posed.likelihood, timed, posed.start, posed.noise))
        seconds = time.perf_counter() - begin
        print(f"  {method}: {seconds:.1f} s, {1 - timed.seconds / seconds:.0%} of it outside the networks", flush=True)


if __name__ == "__main__":
    main()
