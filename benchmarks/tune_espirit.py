"""Choose ESPIRiT's threshold and crop on training scans, by the quality of CG-SENSE with the maps they give.

    python benchmarks/tune_espirit.py --data TRAIN
    python benchmarks/tune_espirit.py --data TRAIN --threshold 0.005 0.01 --crop 0.7 0.8 --slices 4

Prints, per recipe, the mean PSNR in dB over the training cases for every pair of values, and the mean chi, which tells
how well the maps explain the k-space. No test scan is read.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from pathlib import Path

import torch

from medldm.data import ReadRequest
from medldm.host import load_host
from medldm.inference import Gaussian, Noise, run
from medldm.pipeline.events import Teller
from medldm.pipeline.metrics import compare
from medldm.pipeline.posing import finished_volume
from medldm.pipeline.reading import case_hash, read_image
from medldm.pipeline.recipe import load_recipe
from medldm.pipeline.simulate import measure
from medldm_mri.calibration import calibration_region
from medldm_mri.espirit import Espirit
from medldm_mri.sense import Sense

CASES = ("t1w-head-02", "t1w-head-05", "t1w-stripped-03", "ms-t2w-p01-study1", "ms-flair-p03-study1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mri/*.nii.gz of the training scans")
    parser.add_argument("--threshold", type=float, nargs="+", default=[0.005, 0.01, 0.02, 0.04])
    parser.add_argument("--crop", type=float, nargs="+", default=[0.7, 0.8, 0.9])
    parser.add_argument("--slices", type=int, default=3)
    arguments = parser.parse_args()
    host = load_host()
    solver = host.build("solvers", "cg-sense", {"iterations": 10})
    for name in ("mri-4x", "mri-8x"):
        recipe = load_recipe(name)
        scores: dict[tuple[float, float], list[tuple[float, float]]] = {}
        for case in CASES:
            volume = read_image(host, arguments.data / "mri" / f"{case}.nii.gz", ReadRequest(modality="MR"))
            middle = volume.grid.shape[0] // 2
            volume = volume.cropped(slice(middle, middle + arguments.slices))
            acquisition = measure(host, recipe, volume, Teller())
            ky, kx = calibration_region(acquisition.tensor("mask"))
            for threshold, crop in itertools.product(arguments.threshold, arguments.crop):
                estimator = Espirit(threshold=threshold, crop=crop)
                maps = estimator.maps(acquisition.data[..., ky, kx], tuple(volume.data.shape[1:]))
                operator = Sense(maps, acquisition.tensor("mask"))
                sampled = acquisition.tensor("mask")
                likelihood = Gaussian(operator, acquisition.data, float(acquisition.noise_std or 0), sampled=sampled)
                start = operator.adjoint(acquisition.data)[None]
                estimate = run(solver.solve(likelihood, None, start, Noise(recipe.seed, case_hash(volume)))).estimate
                image = finished_volume(estimate, acquisition, volume, "cg-sense")
                score = compare(host, image, volume)["psnr"], float(likelihood.chi(estimate))
                scores.setdefault((threshold, crop), []).append(score)
        for (threshold, crop), values in scores.items():
            quality, fit = (statistics.fmean(column) for column in zip(*values, strict=True))
            print(f"{name}  threshold {threshold:g}  crop {crop:g}  {quality:.2f} dB  chi {fit:.2f}", flush=True)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
