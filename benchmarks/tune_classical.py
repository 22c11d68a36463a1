"""Choose the weight of a recipe's classical solver on training scans.

    python benchmarks/tune_classical.py ct-60-views --data ../shared/data/train --lam 3 10 30
    python benchmarks/tune_classical.py mri-4x --data ../shared/data/train --solver l1-wavelet --lam 1 3 10

Every scan is cut to a few slices, measured as the recipe says, and reconstructed with each weight; the table shows the
PSNR in the window of the metric, and the weight with the best mean. Scans for testing are not looked at: give a folder
of others.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from medldm.data import ReadRequest, Volume
from medldm.host import Host, load_host
from medldm.inference import run
from medldm.pipeline.classical import start_image
from medldm.pipeline.events import Teller
from medldm.pipeline.metrics import compare
from medldm.pipeline.posing import finished_volume, pose
from medldm.pipeline.reading import case_hash, read_case
from medldm.pipeline.recipe import Recipe, load_recipe
from medldm.pipeline.simulate import measure

# One volume per kind of scan that the recipes are for.
CASES = {
    "CT": ("chest-02", "chest-05", "abdomen-01", "abdomen-03"),
    "MR": ("t1w-stripped-03", "t1w-head-05", "ms-flair-p01-study1", "ms-t2w-p03-study1"),
}


def middle(volume: Volume, slices: int) -> Volume:
    """A few neighbouring slices from the middle."""
    first = max(0, (volume.grid.shape[0] - slices) // 2)
    return volume.cropped(slice(first, first + slices))


def scores(host: Host, recipe: Recipe, case: Volume, variants: Sequence[Sequence[str]]) -> list[float]:
    """PSNR of each variant of the recipe's solver on one measurement."""
    quiet = Teller(())
    acquisition = measure(host, recipe, case, quiet)
    start: torch.Tensor | None = None
    found = []
    for settings in variants:
        varied = recipe.changed(settings)
        posed = pose(host, varied, acquisition, case_hash(case), torch.device("cpu"))
        start = start_image(host, varied, posed) if start is None else start
        last = run(posed.solver.solve(posed.likelihood, None, start[None], posed.noise))
        image = finished_volume(last.estimate, acquisition, case, "tuning")
        found.append(float(compare(host, image, case)["psnr"]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True, help="folder with ct/ and mri/ of training scans")
    parser.add_argument("--lam", type=float, nargs="+", required=True)
    parser.add_argument("--solver", help="in place of the recipe's")
    parser.add_argument("--set", nargs="*", default=[], help="further settings of every run")
    parser.add_argument("--slices", type=int, default=1)
    arguments = parser.parse_args()

    host = load_host()
    recipe = load_recipe(arguments.recipe)
    fixed = list(arguments.set) + ([f"solver.name={arguments.solver}"] if arguments.solver else [])
    variants = [[*fixed, f"solver.lam={lam}"] for lam in arguments.lam]
    modality = "CT" if recipe.physics.startswith("ct") else "MR"
    folder = arguments.data / ("ct" if modality == "CT" else "mri")
    print(f"{arguments.recipe:20}" + "".join(f"{lam:>9g}" for lam in arguments.lam))
    table = []
    for name in CASES[modality]:
        volume = read_case(host, folder / f"{name}.nii.gz", ReadRequest())
        if not isinstance(volume, Volume):
            raise SystemExit(f"{name} is a measurement; tuning needs images")
        table.append(scores(host, recipe, middle(volume, arguments.slices), variants))
        print(f"{name:20}" + "".join(f"{value:9.2f}" for value in table[-1]), flush=True)
    mean = np.mean(table, axis=0)
    print(f"{'mean':20}" + "".join(f"{value:9.2f}" for value in mean))
    best = int(np.argmax(mean))
    if math.isfinite(mean[best]):
        print(f"best: lam {arguments.lam[best]:g}")


if __name__ == "__main__":
    main()
