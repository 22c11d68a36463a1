"""Limited-angle fan-beam discs: how much of their holes is still right in 90, 60 and 30 degree windows.

    python benchmarks/htc_discs.py --data ../shared/data/raw/ct-fan-disc

Two tables of Matthews correlation coefficients (MCC) of a segmentation by Otsu's threshold:

- measured: a real disc of the Helsinki Tomography Challenge 2022 from the first 60 and 30 degrees of a 90 degree scan.
  No mask of this disc comes with the data, so the reference is its own 90 degree reconstruction: an agreement between
  windows, which says nothing of what all of them miss.
- SIMULATED: the masks ``true*.mat`` (other objects than the scans), scanned in the geometry of the measured file from
  pixels half as large, with the photons that the file's noise shows; the reference is the mask.

Segments are compared within the circle that every view sees.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medldm.data import Acquisition, Grid, ReadRequest
from medldm.inference import Noise, Solver, run
from medldm.operators import LinearOperator
from medldm_ct.physics import FanBeamCt
from medldm_rawdata.projections.htc import HtcReader
from medldm_rawdata.projections.matlab_file import variables
from medldm_solvers.tv import TotalVariation

WINDOWS = (90, 60, 30)
# Of the material in 1/mm, as reconstructed from the measured disc.
ATTENUATION = 0.03


def binned(scan: Acquisition, factor: int) -> Acquisition:
    """Neighbouring bins averaged; their photons add up."""
    z, views, bins = scan.data.shape
    data = scan.data[..., : bins // factor * factor].reshape(z, views, -1, factor).mean(-1)
    lost = bins % factor * scan.settings["pitch_mm"]
    settings = dict(scan.settings) | {
        "pitch_mm": scan.settings["pitch_mm"] * factor,
        "offset_mm": scan.settings["offset_mm"] - lost / 2,
        "photons": scan.settings["photons"] * factor,
    }
    return replace(scan, data=data, settings=settings)


def window(scan: Acquisition, degrees: int) -> Acquisition:
    """The first views of a scan."""
    angles = scan.tensors["angles"]
    kept = (angles - angles.min()).rad2deg() <= degrees + 1e-6
    settings = dict(scan.settings) | {"arc_deg": math.degrees(float(angles[kept].max() - angles.min())) + 0.5}
    tensors = {"angles": angles[kept]}
    return replace(scan, data=scan.data[:, kept], tensors=tensors, settings=settings)


def otsu(image: Tensor) -> Tensor:
    """The threshold between two classes that lie furthest apart (Otsu 1979)."""
    counts, edges = np.histogram(image.numpy(), 256)
    middles = (edges[1:] + edges[:-1]) / 2
    weight, moment = np.cumsum(counts), np.cumsum(counts * middles)
    total, mean = weight[-1], moment[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mean * weight / total - moment) ** 2 / (weight * (total - weight)))
    return image > float(middles[int(between.argmax())])


def mcc(found: Tensor, truth: Tensor) -> float:
    """Matthews correlation of two segmentations."""
    a, b = found.flatten().double(), truth.flatten().double()
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / ((a @ a) * (b @ b)).sqrt().clamp(min=1e-12))


def reconstructions(scan: Acquisition, operator: LinearOperator, solver: Solver) -> dict[str, Tensor]:
    """Filtered back-projection and total variation, ``(y, x)`` in 1/mm."""
    physics = FanBeamCt()
    likelihood = physics.likelihood(scan, operator)
    start = physics.start(scan, operator)
    step = run(solver.solve(likelihood, None, start[None], Noise(0)))
    return {"fbp": start[0], "tv": step.estimate[0, 0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with tb_subsample_90.mat and true*.mat")
    parser.add_argument("--pixels", type=int, default=128, help="rows and columns of the image, 128")
    parser.add_argument("--binning", type=int, default=4, help="bins averaged, 4")
    parser.add_argument("--iterations", type=int, default=200, help="of total variation, 200")
    parser.add_argument("--lam", type=float, default=20.0, help="weight of total variation, 20")
    parser.add_argument("--pictures", type=Path, help="folder for the reconstructions as .npz")
    options = parser.parse_args()

    case = HtcReader().read(options.data / "tb_subsample_90.mat", ReadRequest())[0]
    assert isinstance(case, Acquisition)
    width = 512 * 0.1483223 / options.pixels
    grid = Grid.isotropic((1, options.pixels, options.pixels), (width, width, width))
    scan = replace(binned(case, options.binning), grid=grid)
    solver = TotalVariation(lam=options.lam, iterations=options.iterations, nonnegative=True)
    rows, columns = torch.meshgrid(*2 * [torch.arange(options.pixels) - (options.pixels - 1) / 2], indexing="ij")
    inside = torch.hypot(rows, columns) < options.pixels / 2

    pictures: dict[str, Tensor] = {}
    print(f"measured: MCC against the tv reconstruction of {WINDOWS[0]} degrees\nwindow   fbp    tv")
    reference, operators = None, {}
    for degrees in WINDOWS:
        part = window(scan, degrees)
        operators[degrees] = FanBeamCt().operator(part, grid)
        images = reconstructions(part, operators[degrees], solver)
        pictures |= {f"measured-{degrees}-{name}": image for name, image in images.items()}
        found = {name: otsu(image[inside]) for name, image in images.items()}
        reference = found["tv"] if reference is None else reference
        print(f"{degrees:5d}  {mcc(found['fbp'], reference):.3f}  {mcc(found['tv'], reference):.3f}", flush=True)

    print("\nSIMULATED: MCC against the mask\nwindow  mask    fbp    tv")
    fine = Grid.isotropic((1, 2 * options.pixels, 2 * options.pixels), (width, width / 2, width / 2))
    projector = FanBeamCt().operator(replace(scan, grid=fine), fine)
    objects = {}
    for path in sorted(options.data.glob("true*.mat")):
        mask = torch.from_numpy(np.ascontiguousarray(variables(path, 1 << 26)["truth"] > 0)).float()[None, None]
        mask = torch.nn.functional.interpolate(mask, fine.shape[1:], mode="area")
        objects[path.stem] = mask
    for degrees in WINDOWS:
        for name, mask in objects.items():
            integrals = projector(ATTENUATION * mask[0])
            photons = scan.settings["photons"]
            counts = Noise(1).poisson(photons * torch.exp(-integrals), name)
            measured = window(replace(scan, data=torch.log(photons / counts.clamp(min=1)), simulated=True), degrees)
            images = reconstructions(measured, operators[degrees], solver)
            pictures |= {f"{name}-{degrees}-{method}": image for method, image in images.items()}
            truth = torch.nn.functional.avg_pool2d(mask, 2)[0, 0][inside] > 0.5
            values = [mcc(otsu(image[inside]), truth) for image in images.values()]
            print(f"{degrees:5d}  {name}  {values[0]:.3f}  {values[1]:.3f}", flush=True)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(options.pictures / "htc-discs.npz", **{k: v.numpy() for k, v in pictures.items()})


if __name__ == "__main__":
    main()
