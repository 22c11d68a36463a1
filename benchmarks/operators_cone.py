"""Cone-beam projection, its transpose and FDK beside itk-rtk, in one run.

    python benchmarks/operators_cone.py
    python benchmarks/operators_cone.py --size 64 --views 30 --detector 96 --rounds 3

128^3 voxels of 1 mm, 60 views over a turn, a flat detector of 192 x 192 bins of 2 mm, source at 256 and detector at
512 mm. The smallest time of all rounds counts, wall clock with two threads and processor time of all threads together;
the latter says what a busy machine would take alone. ``error`` is relative to the analytic projections of smooth
Gaussians, of rays through the middle of each bin (ray) and averaged over each bin (bin); ``adjoint`` is
``|<A x, A x> - <x, A^T A x>| / |A x|^2`` for white noise ``x``. FDK reconstructs the analytic projections with a ramp
without window and is compared with the phantom inside the circle. itk-rtk is left out where it is not installed;
ASTRA's cone beams need CUDA.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from medldm_ct.cone.fdk import FeldkampOperator
from medldm_ct.cone.geometry import Detector, VoxelBox
from medldm_ct.cone.orbit import Orbit, circular
from medldm_ct.cone.phantom import blobs, projected, sampled
from medldm_ct.cone.projector import ConeTransform
from medldm_ct.redundancy import Redundancy, RedundancyName

THREADS = 2
Map = Callable[[np.ndarray], np.ndarray]
TURN = 2 * math.pi


def timed(work: Callable[[], Any], rounds: int) -> str:
    """Wall clock and processor time in ms, the smallest of some rounds after one to warm up."""
    work()
    wall, processor = [], []
    for _ in range(rounds):
        start, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return f"{1e3 * min(wall):6.0f} ({1e3 * min(processor):.0f})"


def relative(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - truth) / np.linalg.norm(truth))


def adjoint_mismatch(forward: Map, back: Map, shape: tuple[int, ...]) -> float:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    y = forward(x)
    energy = float(np.vdot(y.astype(np.float64), y.astype(np.float64)))
    return abs(energy - float(np.vdot(x.astype(np.float64), back(y).astype(np.float64)))) / energy


class Rtk:
    """itk-rtk in the geometry of this plugin: its volume is (y, z, x) of ours, its source at +z for angle zero."""

    def __init__(self, orbit: Orbit, box: VoxelBox) -> None:
        import itk
        from itk import RTK as rtk  # noqa: N811

        itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(THREADS)
        self.itk, self.rtk, self.image = itk, rtk, itk.Image[itk.F, 3]
        self.orbit, self.box = orbit, box
        self.geometry = rtk.ThreeDCircularProjectionGeometry.New()
        for beta in orbit.angles:
            self.geometry.AddProjection(
                orbit.source_to_centre, orbit.source_to_detector, math.degrees(beta), orbit.column_offset
            )

    def volume(self, array: np.ndarray) -> Any:
        """(z, y, x) of ours; rtk's x is ours, its y our z, its z our -y."""
        dz, dy, dx = self.box.spacing
        turned = array.transpose(1, 0, 2)[::-1]
        return self._image(turned, (dx, dz, dy))

    def rays(self, array: np.ndarray) -> Any:
        """(view, row, column) of ours."""
        d = self.orbit.detector
        return self._image(array, (d.column_pitch, d.row_pitch, 1.0), first_centred=2)

    def _image(self, array: np.ndarray, spacing: tuple[float, ...], first_centred: int = 3) -> Any:
        made = self.itk.image_from_array(np.ascontiguousarray(array, dtype=np.float32))
        made.SetSpacing(spacing)
        sizes = array.shape[::-1]
        made.SetOrigin([-(sizes[i] - 1) / 2 * spacing[i] if i < first_centred else 0.0 for i in range(3)])
        return made

    def forward(self, x: np.ndarray) -> np.ndarray:
        f = self.rtk.JosephForwardProjectionImageFilter[self.image, self.image].New()
        d = self.orbit.detector
        f.SetInput(0, self.rays(np.zeros((self.orbit.views, d.rows, d.columns), np.float32)))
        return self._run(f, self.volume(x))

    def back(self, y: np.ndarray) -> np.ndarray:
        f = self.rtk.JosephBackProjectionImageFilter[self.image, self.image].New()
        f.SetInput(0, self.volume(np.zeros(self.box.shape, np.float32)))
        return self._run(f, self.rays(y))[::-1].transpose(1, 0, 2)

    def fdk(self, y: np.ndarray, weights: RedundancyName) -> np.ndarray:
        rays = self.rays(y)
        if weights == "short-scan":
            parker = self.rtk.ParkerShortScanImageFilter[self.image].New()
            rays = self._weighted(parker, rays)
        if weights == "displaced":
            wang = self.rtk.DisplacedDetectorImageFilter[self.image].New()
            rays = self._weighted(wang, rays)
        f = self.rtk.FDKConeBeamReconstructionFilter[self.image].New()
        f.SetInput(0, self.volume(np.zeros(self.box.shape, np.float32)))
        return self._run(f, rays)[::-1].transpose(1, 0, 2)

    def _weighted(self, f: Any, rays: Any) -> Any:
        f.SetInput(rays)
        f.SetGeometry(self.geometry)
        f.Update()
        return f.GetOutput()

    def _run(self, f: Any, second: Any) -> np.ndarray:
        f.SetInput(1, second)
        f.SetGeometry(self.geometry)
        f.Update()
        return self.itk.array_from_image(f.GetOutput())


def scans(size: int, views: int, bins: int) -> dict[RedundancyName, Orbit]:
    """A full turn, a short scan and a displaced detector, each with as many views."""
    pitch = 3.0 * size / bins
    near, far = 2.0 * size, 4.0 * size
    detector = Detector(bins, bins, pitch, pitch)
    arc = math.pi + 2 * math.atan(bins * pitch / 2 / far) + 0.2
    short = tuple(arc * i / views for i in range(views))
    full = tuple(TURN * i / views for i in range(views))
    narrow = Detector(bins, int(0.7 * bins), pitch, pitch)
    return {
        "full-turn": circular(detector, full, near, far),
        "short-scan": circular(detector, short, near, far),
        "displaced": circular(narrow, full, near, far, column_offset=0.15 * bins * pitch),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--detector", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    n = options.size
    box = VoxelBox((n, n, n), (1.0, 1.0, 1.0))
    bodies = blobs(0.4 * n)
    truth = sampled(bodies, box, 2).numpy()
    x = truth.astype(np.float32)
    all_scans = scans(n, options.views, options.detector)
    orbit = all_scans["full-turn"]
    ray, bin_ = (projected(bodies, orbit.beam(), samples).numpy() for samples in (1, 3))
    operator = ConeTransform(orbit.beam(), box)
    ours: tuple[Map, Map] = (
        lambda v: operator(torch.from_numpy(v)).numpy(),
        lambda v: operator.H(torch.from_numpy(v)).numpy(),
    )
    peers: dict[str, tuple[Map, Map]] = {"medldm": ours}
    if importlib.util.find_spec("itk") is not None:
        rtk = Rtk(orbit, box)
        peers["itk-rtk Joseph"] = (rtk.forward, rtk.back)
    print(f"{n}^3, {options.views} views of {options.detector}^2; wall ms (processor ms), {THREADS} threads")
    print(f"{'':16}{'forward':>16}{'adjoint':>16}{'error ray':>11}{'error bin':>11}{'adjoint':>10}")
    for name, (forward, back) in peers.items():
        y = forward(x)
        times = timed(lambda f=forward: f(x), options.rounds), timed(lambda b=back, y=y: b(y), options.rounds)
        mismatch = adjoint_mismatch(forward, back, box.shape)
        errors = relative(y, ray), relative(y, bin_)
        print(f"{name:16}{times[0]:>16}{times[1]:>16}{errors[0]:11.1e}{errors[1]:11.1e}{mismatch:10.0e}", flush=True)
    inside = np.hypot(*np.meshgrid(*[np.arange(n) - (n - 1) / 2] * 2)) < 0.45 * n
    print("\nFDK, ramp without window, of analytic projections: ms, error in the circle, mean over the phantom's")
    for weights, scan in all_scans.items():
        y = projected(bodies, scan.beam(), 1).numpy().astype(np.float32)
        arc = TURN if weights != "short-scan" else scan.angles[-1] + scan.angles[1]
        fdk = FeldkampOperator(scan, box, Redundancy.named(weights, arc), "ram-lak")
        rows: dict[str, Map] = {"medldm": lambda v, fdk=fdk: fdk(torch.from_numpy(v)).numpy()}
        if importlib.util.find_spec("itk") is not None:
            peer = Rtk(scan, box)
            rows["itk-rtk"] = lambda v, peer=peer, weights=weights: peer.fdk(v, weights)
        images = {}
        for name, reconstruct in rows.items():
            image = images[name] = reconstruct(y)
            took = timed(lambda r=reconstruct, y=y: r(y), max(1, options.rounds // 2))
            error, mean = relative(image[:, inside], truth[:, inside]), image[:, inside].sum() / truth[:, inside].sum()
            print(f"{weights:12}{name:12}{took:>16}{error:10.4f}{mean:10.4f}", flush=True)
        if len(images) == 2:
            between = relative(images["medldm"][:, inside], images["itk-rtk"][:, inside])
            print(f"{weights:12}between the two {between:22.4f}")


if __name__ == "__main__":
    main()
