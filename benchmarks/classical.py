"""The classical solvers on two known phantoms, beside the figures that other packages reach on them.

    python benchmarks/classical.py            all rows, about half a minute on two quiet cores
    python benchmarks/classical.py --only mri

One weight per method serves both phantoms. Where BART is installed (`bart` on the path), its conjugate
gradients and its total variation run on the same data. A row misses when its PSNR is below its target.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from classical_phantoms import ResonanceTarget, TomographyTarget, brain, shepp_logan
from torch import Tensor

from medldm.inference import Gaussian, Noise, Solver, run
from medldm_ct.geometry import ImagePlane, ParallelBeam
from medldm_ct.projector import XRayTransform
from medldm_ct.redundancy import Redundancy
from medldm_mri.sense import Sense
from medldm_solvers.cg_sense import CGSense
from medldm_solvers.cgls import CGLS
from medldm_solvers.fbp import FilteredBackProjection
from medldm_solvers.l1_wavelet import L1Wavelet
from medldm_solvers.sart import SART
from medldm_solvers.tv import TotalVariation

TV_LAM = 20.0


@dataclass(frozen=True)
class Row:
    """One reconstruction: its quality in dB and its time in s, with the target or None."""

    problem: str
    method: str
    psnr: float
    seconds: float
    target: float | None = None


def psnr_ct(x: Tensor, truth: Tensor) -> float:
    """Against a range of one."""
    return -10 * math.log10(float((x - truth).double().square().mean()))


def psnr_mri(x: Tensor, truth: Tensor) -> float:
    """Of magnitudes, the estimate scaled by least squares, against the truth's maximum."""
    a, b = x.abs().double().flatten(), truth.abs().double().flatten()
    error = (a * (a @ b) / (a @ a) - b).square().mean()
    return 10 * math.log10(float(b.max().square() / error))


def ct_problem(target: TomographyTarget) -> Gaussian:
    """Least squares of the sinogram with the package's own projector."""
    _, ny, nx = target.truth.shape
    operator = XRayTransform(
        ParallelBeam(target.angles, target.sinogram.shape[-1], 1.0),
        ImagePlane((ny, nx), (1.0, 1.0)),
        1,
        redundancy=Redundancy("half-turn", math.pi),
    )
    return Gaussian(operator, target.sinogram, target.std)


def mri_problem(target: ResonanceTarget) -> Gaussian:
    """Least squares of k-space with the maps that made it."""
    return Gaussian(Sense(target.maps, target.mask), target.kspace, target.std, sampled=target.mask)


def timed(solver: Solver, likelihood: Gaussian, start: Tensor) -> tuple[Tensor, float]:
    """The last estimate, and the seconds it took."""
    begin = time.perf_counter()
    estimate = run(solver.solve(likelihood, None, start, Noise(0, "benchmark"))).estimate
    return estimate, time.perf_counter() - begin


def ct_rows() -> Iterator[Row]:
    """256 x 256 pixels, 60 views, 1 % noise."""
    target = shepp_logan()
    likelihood = ct_problem(target)
    zero = torch.zeros_like(target.truth)[None]
    start, _ = timed(FilteredBackProjection("hann"), likelihood, zero)
    rows: tuple[tuple[str, Solver, float], ...] = (
        ("fbp hann", FilteredBackProjection("hann"), 25.3),
        ("sart 20 sweeps", SART(sweeps=20), 32.7),
        ("cgls 12", CGLS(iterations=12), 25.9),
        ("tv 200", TotalVariation(lam=TV_LAM, iterations=200, nonnegative=True), 40.5),
    )
    for name, solver, goal in rows:
        x, seconds = timed(solver, likelihood, start)
        yield Row("ct 60 views", name, psnr_ct(x, target.truth), seconds, goal)


def mri_rows(acceleration: int) -> Iterator[Row]:
    """320 x 320 pixels, 8 coils, 2 % noise."""
    target = brain(acceleration)
    likelihood = mri_problem(target)
    problem = f"mri {acceleration}x"
    goals = {4: (22.12, 29.0, 36.3), 8: (17.24, 18.0, 19.0)}[acceleration]
    start, seconds = timed(CGSense(lam=0.01, iterations=30), likelihood, likelihood.operator.H(target.kspace)[None])
    yield Row(problem, "cg-sense 30", psnr_mri(start, target.truth), seconds, goals[0])
    for name, solver, goal in (
        ("l1-wavelet 100", L1Wavelet(lam=20.0, iterations=100), goals[1]),
        ("tv 200", TotalVariation(lam=TV_LAM, iterations=200), goals[2]),
    ):
        x, seconds = timed(solver, likelihood, start)
        yield Row(problem, name, psnr_mri(x, target.truth), seconds, goal)
    if shutil.which("bart"):
        for name, options in (
            ("BART pics -l2 30", ("-l2", "-r", "0.01", "-i", "30")),
            ("BART pics TV 50", ("-R", "T:3:0:0.01", "-i", "50", "-C", "5", "-u", "0.1")),
        ):
            begin = time.perf_counter()
            x = bart_pics(target, *options)
            yield Row(problem, name, psnr_mri(x, target.truth), time.perf_counter() - begin)


def bart_pics(target: ResonanceTarget, *options: str) -> Tensor:
    """``bart pics -S`` on the target, through files in BART's order (x, y, z, coil), column-major."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def write(stem: str, array: Tensor) -> None:
            values = array.numpy().astype(np.complex64)
            (folder / f"{stem}.hdr").write_text(f"# Dimensions\n{' '.join(map(str, values.shape))}\n")
            values.ravel(order="F").tofile(folder / f"{stem}.cfl")

        write("kspace", target.kspace[0].movedim(0, -1)[:, :, None])
        write("maps", target.maps[0].movedim(0, -1)[:, :, None])
        write("pattern", target.mask[:, :, None])
        command = ["bart", "pics", "-S", *options, "-p", "pattern", "kspace", "maps", "out"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        values = np.fromfile(folder / "out.cfl", np.complex64)
        return torch.from_numpy(values.reshape(target.mask.shape, order="F").copy())


PROBLEMS: dict[str, tuple[Callable[[], Iterator[Row]], ...]] = {
    "ct": (ct_rows,),
    "mri": (lambda: mri_rows(4), lambda: mri_rows(8)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(PROBLEMS), help="one of the two phantoms")
    chosen = parser.parse_args().only
    print(f"{'problem':12} {'method':18} {'PSNR dB':>8} {'target':>7} {'s':>7}")
    for name, problems in PROBLEMS.items():
        if chosen not in (None, name):
            continue
        for rows in problems:
            for row in rows():
                goal = "" if row.target is None else f"{row.target:.2f}"
                missed = row.target is not None and row.psnr < row.target
                print(
                    f"{row.problem:12} {row.method:18} {row.psnr:8.2f} {goal:>7} {row.seconds:7.2f}"
                    f"{'  missed' if missed else ''}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
