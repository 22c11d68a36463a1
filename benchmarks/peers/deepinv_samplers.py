"""DiffPIR and DPS of deepinv beside the solvers of this package: same weights, operator, measurement, network calls.

    python benchmarks/peers/deepinv_samplers.py                       two public volumes, two slices each
    python benchmarks/peers/deepinv_samplers.py --recipe ct-60-views --slices 8
    python benchmarks/peers/deepinv_samplers.py --tune SCAN.nii.gz    the grids from which TUNED was chosen

deepinv (https://deepinv.org) is no dependency: ``pip install deepinv``, anywhere on the path. Tables are Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from posed_case import Counted, PosedCase, Row, modality_of, posed_case
from torch import Tensor

from medldm.host import load_host
from medldm.inference.complex_image import PhaseFrozen
from medldm.pipeline.recipe import load_recipe

CASES = {"MR": ("t1w-stripped-61", "t1w-head-12"), "CT": ("chest-b-256",)}
# Chosen with --tune on a training scan, one slice, 50 calls. deepinv's lambda_ is twice our lam, see README.md.
TUNED = {"MR": {"lambda_": 4.0, "zeta": 1.0}, "CT": {"lambda_": 0.5, "zeta": 1.0}}
LAMBDAS = {"MR": (2.0, 4.0, 8.0), "CT": (0.5, 1.0, 2.0, 4.0, 8.0)}
ZETAS = (0.1, 0.3, 1.0)
TUNED_DPS: dict[str, dict[str, object]] = {
    "MR": {"guidance": "annealed", "weight": 3.0},
    "CT": {"guidance": "norm", "weight": 300.0},
}
DPS_GRID = (
    *(("norm", weight) for weight in (100.0, 300.0, 1000.0)),
    *(("annealed", weight) for weight in (1.0, 3.0, 10.0)),
)
Sampler = Callable[[PosedCase, argparse.Namespace], Row]


def seen_by_deepinv(case: PosedCase, kind: str) -> object:
    """How deepinv is given the image: see :mod:`deepinv_bridge`."""
    from deepinv_bridge import ComplexState, MagnitudeState, RealState

    if not case.problem.start.is_complex():
        return RealState(float(case.problem.start.min()), float(case.problem.start.max()))
    # A little above one where the start image is; deepinv cuts off what is beyond.
    reach = max(1.0, float(case.problem.start.abs().max()))
    if kind == "complex":
        return ComplexState(reach)
    prior = case.problem.prior
    if not isinstance(prior, PhaseFrozen):
        raise SystemExit("--state magnitude needs a prior of magnitudes, on the scan's own grid and axes.")
    return MagnitudeState(reach, prior.phase)


def image_of(u: Tensor, state: object) -> Tensor:
    """(1, z, y, x) in the prior's units."""
    image = state.linear(u)
    return (image + state.offset(image))[None]


def deepinv_diffpir(
    case: PosedCase,
    arguments: argparse.Namespace,
    name: str,
    *,
    last: bool = False,
    tol: float = 1e-4,
    max_iter: int = 50,
    **options: float,
) -> Row:
    """``deepinv.sampling.DiffPIR``; ``tol`` and ``max_iter`` are of its proximal step, its defaults where not given.

    What it returns still has the noise of its last level, 0.005 of its range, and its last call of the network counts
    for nothing. ``last`` takes what that call gave.
    """
    from deepinv.optim.data_fidelity import L2
    from deepinv.sampling import DiffPIR
    from deepinv_bridge import PriorDenoiser, WhitePhysics

    state = seen_by_deepinv(case, arguments.state)

    @torch.no_grad()
    def solve(prior: Counted) -> Tensor:
        # Without implicit differentiation, which would warn of few iterations: nothing is differentiated here.
        physics = WhitePhysics(
            case.problem.likelihood, state, tol=tol, max_iter=max_iter, implicit_backward_solver=False
        )
        denoiser = PriorDenoiser(prior, state)
        sampler = DiffPIR(denoiser, L2(), sigma=physics.factor, max_iter=arguments.calls, **options)
        u = sampler(physics.y, physics, seed=arguments.seed)
        return image_of(denoiser.last if last else u, state)

    return case.row(name, solve)


def deepinv_dps(case: PosedCase, arguments: argparse.Namespace, name: str, **options: object) -> Row:
    """``deepinv.sampling.DPS``, one call of the network for each interval between its time steps."""
    from deepinv.sampling import DPS
    from deepinv_bridge import PriorDenoiser, WhitePhysics

    state = seen_by_deepinv(case, arguments.state)

    def solve(prior: Counted) -> Tensor:
        physics = WhitePhysics(case.problem.likelihood, state)
        sampler = DPS(PriorDenoiser(prior, state), num_steps=arguments.calls + 1, **options)
        torch.manual_seed(arguments.seed)
        u = sampler(physics.y, physics, x_init=state.state(case.problem.start[0]).shape).detach().float()
        return image_of(u, state)

    return case.row(name, solve)


METHODS: dict[str, Sampler] = {
    "start": lambda case, _: case.row("start image", lambda prior: case.problem.start),
    "deepinv-diffpir": lambda case, a: deepinv_diffpir(case, a, "deepinv DiffPIR, defaults"),
    "deepinv-diffpir-tuned": lambda case, a: deepinv_diffpir(case, a, "deepinv DiffPIR, tuned", **TUNED[case.modality]),
    "deepinv-diffpir-exact": lambda case, a: deepinv_diffpir(
        case, a, "deepinv DiffPIR, tuned, data step to 1e-5", tol=1e-5, max_iter=100, **TUNED[case.modality]
    ),
    "deepinv-diffpir-last": lambda case, a: deepinv_diffpir(
        case, a, "deepinv DiffPIR, tuned, its last denoised image", last=True, **TUNED[case.modality]
    ),
    "deepinv-dps": lambda case, a: deepinv_dps(case, a, "deepinv DPS, defaults"),
    "deepinv-dps-tuned": lambda case, a: deepinv_dps(case, a, "deepinv DPS, tuned", **TUNED_DPS[case.modality]),
    "diffpir-published": lambda case, a: case.shipped(
        "diffpir", {"steps": a.calls, "zeta": 0.3, **case.iterations}, ", zeta 0.3"
    ),
    "diffpir": lambda case, a: case.shipped("diffpir", {"steps": a.calls, **case.iterations}),
    "dps": lambda case, a: case.shipped("dps", {"steps": a.calls}),
    "zdds": lambda case, a: case.shipped("zdds", {"steps": a.calls}),
}


def tune(case: PosedCase, arguments: argparse.Namespace) -> None:
    """Every point of both grids on one case."""
    print("| settings | PSNR | chi | seconds |\n| --- | ---: | ---: | ---: |")
    for row in _grid(case, arguments):
        print(f"| {row.method} | {row.psnr:.2f} | {row.chi:.3f} | {row.seconds:.0f} |", flush=True)


def _grid(case: PosedCase, arguments: argparse.Namespace) -> Iterator[Row]:
    for lambda_, zeta in itertools.product(LAMBDAS[case.modality], ZETAS):
        if "diffpir" in arguments.methods:
            ours = {"steps": arguments.calls, "lam": lambda_ / 2, "zeta": zeta, **case.iterations}
            yield case.shipped("diffpir", ours, f", lam {lambda_ / 2:g}, zeta {zeta:g}")
        if "deepinv-diffpir-tuned" in arguments.methods:
            name = f"deepinv DiffPIR, lambda_ {lambda_:g}, zeta {zeta:g}"
            yield deepinv_diffpir(case, arguments, name, lambda_=lambda_, zeta=zeta)
    if "deepinv-dps-tuned" in arguments.methods:
        for guidance, weight in DPS_GRID:
            name = f"deepinv DPS, {guidance}, weight {weight:g}"
            yield deepinv_dps(case, arguments, name, guidance=guidance, weight=weight)


def table(cases: Iterator[tuple[str, PosedCase]], arguments: argparse.Namespace) -> None:
    """Of all cases, and the mean where there are several."""
    print("| case | method | PSNR | chi | seconds | network calls |\n| --- | --- | ---: | ---: | ---: | ---: |")
    rows: dict[str, list[Row]] = {}
    for name, case in cases:
        for method in arguments.methods:
            row = METHODS[method](case, arguments)
            rows.setdefault(method, []).append(row)
            _print(name, row)
    for several in rows.values():
        if len(several) > 1:
            _print("mean", _mean(several))


def _print(case: str, row: Row) -> None:
    print(f"| {case} | {row.method} | {row.psnr:.2f} | {row.chi:.3f} | {row.seconds:.1f} | {row.calls} |", flush=True)


def _mean(rows: Sequence[Row]) -> Row:
    psnr, chi, seconds = (float(np.mean([getattr(row, name) for row in rows])) for name in ("psnr", "chi", "seconds"))
    return Row(rows[0].method, psnr, chi, seconds, round(float(np.mean([row.calls for row in rows]))))


def find(folder: Path, name: str) -> Path:
    """The scan of a name, wherever it lies in the folder."""
    found = sorted(folder.rglob(f"{name}.nii.gz"))
    if not found:
        raise SystemExit(f"There is no {name}.nii.gz in {folder}.")
    return found[0]


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/public"))
    parser.add_argument("--case", action="append", metavar="NAME", help="default: two heads, or a chest")
    parser.add_argument("--recipe", default="mri-4x")
    parser.add_argument("--slices", type=int, default=2, help="in the middle of each volume")
    parser.add_argument("--calls", type=int, default=50, help="of the networks")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--state", choices=("magnitude", "complex"), default="magnitude", help="of deepinv")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tune", type=Path, metavar="SCAN", help="print the grids on this scan instead")
    arguments = parser.parse_args()
    try:
        import deepinv
    except ImportError as error:
        print(
            f"deepinv cannot be imported ({error}): pip install deepinv, see benchmarks/peers/README.md.",
            file=sys.stderr,
        )
        return 2
    host, recipe = load_host(), load_recipe(arguments.recipe, [f"run.seed={arguments.seed}"])
    print(f"deepinv {deepinv.__version__}, state {arguments.state}, {arguments.calls} calls, seed {arguments.seed}\n")
    if arguments.tune:
        tune(posed_case(host, recipe, arguments.tune, arguments.slices), arguments)
        return 0
    paths = {name: find(arguments.data, name) for name in arguments.case or CASES[modality_of(recipe)]}
    table(((name, posed_case(host, recipe, path, arguments.slices)) for name, path in paths.items()), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
