"""What the batch layer costs over a plain loop, and what a second process brings.

    python benchmarks/batch_overhead.py --scans 4 --iterations 300 --out overhead

A plain loop calls `medldm.reconstruct` on each scan; the batch does the same scans in one process, then with one and
with two worker processes. Two plain loops at once, of half the scans each, say what two processes can bring on this
machine at most, where cores share caches and memory. On a machine that others use too, the time spent outside
`reconstruct` says more than a difference of two long times, so both are printed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medldm.batch import task
from medldm.batch.batch import Watchers, Workforce, run_batch
from medldm.batch.settings import Settings
from medldm.batch.source import find_source
from medldm.data import ReadRequest
from medldm.host import load_host
from medldm.pipeline.reconstruct import reconstruct

RECIPE = """
acquisition: {physics: identity, noise: {std: 0.05, of: absolute}}
solver: {name: tv, iterations: ITERATIONS, lam: 1.0}
"""
SHAPE = (160, 192, 24)


class Inside:
    """Stands for `reconstruct` and adds up the time spent in it."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return reconstruct(*args, **kwargs)
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu


def write_recipe(path: Path, iterations: int) -> str:
    path.write_text(RECIPE.replace("ITERATIONS", str(iterations)), encoding="utf-8")
    return str(path)


def plain_loop(scans: list[Path], recipe: str, warm: str, out: Path, meeting: Any = None) -> tuple[float, float]:
    """Wall time and CPU time of `reconstruct` on each of `scans`, after what is loaded once; meet the others first."""
    host, read = load_host(), ReadRequest(modality="MR")
    reconstruct(scans[0], out / "warm", recipe=warm, simulate=True, read=read, host=host)
    if meeting is not None:
        meeting.wait()
    wall, cpu = time.perf_counter(), time.process_time()
    for scan in scans:
        reconstruct(scan, out / scan.name[:5], recipe=recipe, simulate=True, read=read, host=host)
    return time.perf_counter() - wall, time.process_time() - cpu


def two_plain_loops(scans: list[Path], recipe: str, warm: str, out: Path) -> float:
    """Seconds of two processes with half of `scans` each, from their start together to the end of the later one."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(2, mp_context=context) as pool:
        meeting = manager.Barrier(2)
        halves = [pool.submit(plain_loop, scans[n::2], recipe, warm, out / str(n), meeting) for n in (0, 1)]
        return max(half.result()[0] for half in halves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=300, help="of total variation, which make a scan long")
    parser.add_argument("--no-workers", action="store_true", help="leave out the runs on worker processes")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    scans = args.out / "scans"
    scans.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number in range(args.scans):
        image = nib.Nifti1Image(rng.random(SHAPE, dtype=np.float32), np.eye(4))
        nib.save(image, scans / f"scan{number}.nii.gz")
    paths = sorted(scans.iterdir())
    warm, recipe = write_recipe(args.out / "warm.yaml", 2), write_recipe(args.out / "work.yaml", args.iterations)
    loop = plain_loop(paths, recipe, warm, args.out / "loop")

    host = load_host()
    inside = Inside()
    task.reconstruct = inside  # type: ignore[assignment]
    settings = Settings(recipe=recipe, simulate=True, modality="MR")
    wall, cpu = time.perf_counter(), time.process_time()
    run_batch(host, find_source(host, scans), args.out / "batch", settings, Workforce(), Watchers())
    batch = time.perf_counter() - wall, time.process_time() - cpu
    outside = batch[0] - inside.wall, batch[1] - inside.cpu
    result: dict[str, Any] = {
        "scans": args.scans,
        "plain loop, s of CPU a scan": round(loop[1] / args.scans, 3),
        "batch, s of CPU a scan": round(batch[1] / args.scans, 3),
        "batch over loop, CPU": f"{batch[1] / loop[1] - 1:+.2%}",
        "outside reconstruct, s of CPU a scan": round(outside[1] / args.scans, 4),
        "outside reconstruct, s a scan": round(outside[0] / args.scans, 4),
        "overhead, CPU": f"{outside[1] / inside.cpu:.2%}",
        "overhead, time": f"{outside[0] / inside.wall:.2%}",
    }
    if not args.no_workers:
        for workers in (1, 2):
            out = args.out / f"workers{workers}"
            staff = Workforce(workers, "local")
            first: list[float] = []

            def note(standing: Any, first: list[float] = first) -> None:
                if not first and standing.running:
                    first.append(time.perf_counter())

            run_batch(host, find_source(host, scans), out, settings, staff, Watchers(standing=note))
            result[f"{workers} worker processes, s once they are there"] = round(time.perf_counter() - first[0], 1)
        one, two = (result[f"{n} worker processes, s once they are there"] for n in (1, 2))
        result["two over one"] = round(one / two, 2)
        both = two_plain_loops(paths, recipe, warm, args.out / "both")
        result["two plain loops over one, without the batch"] = round(loop[0] / both, 2)
    result["load of the machine"] = os.getloadavg()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
