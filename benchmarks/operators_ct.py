"""Speed, accuracy and set-up of the CT projectors beside other libraries, as ratios in one run.

    python benchmarks/operators_ct.py
    python benchmarks/operators_ct.py --peers /path/to/other/venv/bin/python --rounds 5

Peers that are not installed are left out: astra-toolbox, scikit-image and deepinv are looked for in this interpreter or
in the one given by ``--peers``. All run one after the other, in every round, with two threads; the smallest time of all
rounds counts. A ratio above 1 means that medldm is quicker. Peers without a batch are timed on few slices and scaled.
``error`` is relative to the analytic projections of smooth Gaussians, averaged over each bin, in the convention of
angle and detector that suits the library best, but with the axis of rotation in the centre of the image. On a busy
machine set OMP_WAIT_POLICY=PASSIVE, or threads wait for each other spinning.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
Apply = Callable[[], Any]
# A CPU build of torch beside the usual torchvision lacks these operators, which deepinv imports and does not use here.
_ROI = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
_TORCHVISION = ("nms", "qnms", *_ROI, *(f"_{name}_backward" for name in _ROI))


@dataclass(frozen=True)
class Case:
    """Pixels of 1 mm; bins of 1 mm at the axis; fan: source at 2 n mm, flat detector at 4 n mm, a full turn."""

    beam: str
    size: int
    views: int
    slices: int

    @property
    def bins(self) -> int:
        return math.ceil(math.sqrt(2) * self.size)

    @property
    def angles(self) -> Any:
        return np.arange(self.views) * (math.pi if self.beam == "parallel" else 2 * math.pi) / self.views

    def __str__(self) -> str:
        return f"{self.beam}, {self.slices} x {self.size} x {self.size}, {self.views} views"


CASES = (
    Case("parallel", 256, 180, 1),
    Case("parallel", 256, 180, 64),
    Case("parallel", 256, 60, 64),
    Case("parallel", 512, 180, 1),
    Case("parallel", 512, 180, 64),
    Case("fan", 256, 180, 1),
    Case("fan", 256, 180, 64),
)


@dataclass(frozen=True)
class Projector:
    """What a library can do: functions of a stack, how many slices they were given, and their set-up in seconds."""

    forward: Callable[[Any], Any]
    adjoint: Callable[[Any], Any]
    convert: Callable[[Any], Any]
    slices: int
    setup: float
    memory: float = 0.0


def geometry_of(case: Case) -> Any:
    from medldm_ct.geometry import FanBeam, ParallelBeam

    angles = tuple(case.angles.tolist())
    if case.beam == "parallel":
        return ParallelBeam(angles, case.bins, 1.0)
    return FanBeam(angles, case.bins, 2.0, 0.0, 2.0 * case.size, 4.0 * case.size)


def medldm(case: Case) -> Projector:
    import torch

    from medldm_ct.geometry import ImagePlane
    from medldm_ct.projector import XRayTransform

    start = time.perf_counter()
    operator = XRayTransform(geometry_of(case), ImagePlane((case.size, case.size), (1.0, 1.0)), case.slices)
    setup = time.perf_counter() - start
    return Projector(operator, operator.H, torch.from_numpy, case.slices, setup, operator.bytes_needed / 2**20)


def astra(case: Case) -> Projector:
    import astra as toolbox

    volume = toolbox.create_vol_geom(case.size, case.size)
    if case.beam == "parallel":
        kind, scan = "linear", toolbox.create_proj_geom("parallel", 1.0, case.bins, case.angles)
    else:
        distances = (2.0 * case.size, 2.0 * case.size)
        kind, scan = "strip_fanflat", toolbox.create_proj_geom("fanflat", 2.0, case.bins, case.angles, *distances)
    start = time.perf_counter()
    matrix = toolbox.OpTomo(toolbox.create_projector(kind, scan, volume))
    setup = time.perf_counter() - start
    shape = (case.size, case.size)
    return Projector(
        lambda x: np.stack([(matrix @ image.ravel()).reshape(case.views, case.bins) for image in x]),
        lambda y: np.stack([(matrix.T @ sinogram.ravel()).reshape(shape) for sinogram in y]),
        np.asarray,
        min(case.slices, 2),
        setup,
    )


def scikit_image(case: Case) -> Projector:
    from skimage.transform import iradon, radon

    if case.beam != "parallel":
        raise NotImplementedError("scikit-image has no fan beam")
    degrees = np.rad2deg(case.angles)

    def adjoint(y: Any) -> Any:
        options = {"filter_name": None, "circle": False, "output_size": case.size}
        return np.stack([iradon(sinogram.T, degrees, **options) for sinogram in y])

    return Projector(
        lambda x: np.stack([radon(image, degrees, circle=False).T for image in x]), adjoint, np.asarray, 1, 0.0
    )


def deepinv(case: Case) -> Projector:
    import torch
    from deepinv.physics import Tomography

    library = torch.library.Library("torchvision", "DEF")
    for name in _TORCHVISION:
        with contextlib.suppress(RuntimeError):
            library.define(f"{name}(Tensor x) -> Tensor")
    options: dict[str, Any] = {}
    if case.beam == "fan":
        options = {
            "fan_beam": True,
            "fan_parameters": {
                "pixel_spacing": 1.0,
                "source_radius": 2.0 * case.size,
                "detector_radius": 2.0 * case.size,
                "n_detector_pixels": case.bins,
                "detector_spacing": 2.0,
            },
        }
    start = time.perf_counter()
    degrees = torch.from_numpy(np.rad2deg(case.angles)).float()
    physics = Tomography(angles=degrees, img_width=case.size, normalize=False, circle=False, **options)
    setup = time.perf_counter() - start
    return Projector(
        lambda x: physics.A(x[:, None])[:, 0].transpose(-1, -2),
        lambda y: physics.A_adjoint(y.transpose(-1, -2)[:, None])[:, 0],
        torch.from_numpy,
        1,
        setup,
    )


LIBRARIES = {"medldm": medldm, "astra": astra, "scikit-image": scikit_image, "deepinv": deepinv}


def smallest(apply: Apply, seconds: float) -> float:
    """Milliseconds of the quickest of the calls that fit into some seconds, at least two, after one to warm up."""
    apply()
    times: list[float] = []
    while len(times) < 2 or (sum(times) < seconds and len(times) < 50):
        start = time.perf_counter()
        apply()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def measure(library: str, case: Case, folder: Path, seconds: float) -> dict[str, Any]:
    """Times of one library in this process; its projection of the phantom goes to the folder."""
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")
    projector = LIBRARIES[library](case)
    image = np.load(folder / "image.npy")
    stack = projector.convert(np.repeat(image[None], projector.slices, 0))
    sinogram = projector.forward(stack)
    np.save(folder / f"{library}.npy", np.asarray(sinogram[0]))
    scale = case.slices / projector.slices
    times = [
        scale * smallest(lambda: projector.forward(stack), seconds),
        scale * smallest(lambda: projector.adjoint(sinogram), seconds),
    ]
    return {"times": times, "setup": projector.setup, "memory": projector.memory}


def in_turn(library: str, case: Case, folder: Path, seconds: float, python: str) -> dict[str, Any] | str:
    """:func:`measure` in a process of its own; the last line of its error when that fails."""
    described = json.dumps(asdict(case))
    command = [python, __file__, "--worker", library, "--case", described, "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--seconds", str(seconds)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
        check=False,
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["failed"])[-1]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def error_of(case: Case, sinogram: Any) -> float:
    """Relative error in the best of the conventions of angle and detector."""
    from dataclasses import replace

    from medldm_ct.phantom import gaussian_sinogram

    geometry = geometry_of(case)
    if sinogram.shape != (geometry.views, geometry.bins):
        return math.nan
    errors = []
    for sign in (1, -1):
        for quarter in range(4):
            turned = tuple(sign * a + quarter * math.pi / 2 for a in geometry.angles)
            truth = gaussian_sinogram(replace(geometry, angles=turned), case.size / 2).numpy()
            errors += [np.linalg.norm(sinogram[:, ::flip] - truth) / np.linalg.norm(truth) for flip in (1, -1)]
    return float(min(errors))


def compare(case: Case, rounds: int, seconds: float, peers: str) -> None:
    from medldm_ct.geometry import ImagePlane
    from medldm_ct.phantom import gaussian_image

    best: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plane = ImagePlane((case.size, case.size), (1.0, 1.0))
        np.save(folder / "image.npy", gaussian_image(plane, case.size / 2).float().numpy())
        for _ in range(rounds):
            for library in LIBRARIES:
                if library in missing:
                    continue
                result = in_turn(library, case, folder, seconds, sys.executable if library == "medldm" else peers)
                if isinstance(result, str):
                    missing[library] = result
                    continue
                known = best.setdefault(library, result)
                known["times"] = [min(pair) for pair in zip(known["times"], result["times"], strict=True)]
                known["setup"] = min(known["setup"], result["setup"])
        print(f"\n{case}: ms (ratio to medldm)")
        print(f"{'':14}{'forward':>20}{'adjoint':>20}{'set-up s':>10}{'matrix MiB':>12}{'error':>10}")
        for library, row in best.items():
            cells = "".join(
                f"{t:12.1f} ({t / o:5.1f})" for t, o in zip(row["times"], best["medldm"]["times"], strict=True)
            )
            error = error_of(case, np.load(folder / f"{library}.npy"))
            print(f"{library:14}{cells}{row['setup']:10.2f}{row['memory']:12.0f}{error:10.1e}")
    for library, reason in missing.items():
        print(f"{library:14}not measured: {reason[:90]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=sys.executable, help="interpreter in which the peers are installed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each measurement of a round")
    parser.add_argument("--only", default="", help="cases whose description contains this, e.g. '1 x 256'")
    parser.add_argument("--worker", choices=LIBRARIES, help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        case = Case(**json.loads(options.case))
        print(json.dumps(measure(options.worker, case, options.folder, options.seconds)))
        return
    print(f"{THREADS} threads, load {os.getloadavg()[0]:.1f}")
    for case in CASES:
        if options.only in str(case):
            compare(case, options.rounds, options.seconds, options.peers)


if __name__ == "__main__":
    main()
