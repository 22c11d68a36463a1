"""Many small scans, two workers, kills at random: is every output there, whole, and as if nothing had happened?

    python benchmarks/batch_kills.py --scans 200 --kills 20 --out kills

Reconstructs the scans once undisturbed in one process. Then once more with two worker processes, while SIGKILL hits a
worker or the coordinator, chosen at random, at random moments; a killed coordinator is started again with the same
command. At the end every image is compared with the undisturbed one byte for byte, every file with its manifest,
and every record but for times and machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

RECIPE = """
acquisition: {physics: identity, noise: {std: 0.05, of: absolute}}
solver: {name: cgls, iterations: 4}
"""
# What differs from run to run by nature.
_VOLATILE = ("created", "seconds", "peak_memory_bytes", "files", "threads")


def make_scans(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    for number in range(count):
        shape = (24, 20, 4 + number % 7)
        image = nib.Nifti1Image(rng.random(shape, dtype=np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
        nib.save(image, folder / f"scan{number:03d}.nii.gz")


def command(scans: Path, out: Path, recipe: Path, *more: str) -> list[str]:
    words = ["batch", "run", str(scans), "-o", str(out), "-r", str(recipe), "--simulate", "--modality", "MR", *more]
    return [sys.executable, "-m", "medldm", *words]


def children(pid: int) -> list[int]:
    """Worker processes below a process: those of its descendants that were spawned to run a worker."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = [int(word) for word in task.read_text(encoding="ascii").split()]
        except OSError:
            continue
        for child in below:
            try:
                words = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            found += [child] if b"spawn_main" in words else []
            found += children(child)
    return found


def disturbed(words: list[str], out: Path, kills: int, between: int, rng: random.Random) -> dict[str, int]:
    """Run to the end under fire: a kill comes when 1 to ``between`` more scans are done, and up to a second later."""
    told = {"worker kills": 0, "coordinator kills": 0, "coordinators": 1}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    while (hits := told["worker kills"] + told["coordinator kills"]) < kills:
        wanted = done(out) + rng.randint(1, between)
        while process.poll() is None and done(out) < wanted:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 1))
        if process.poll() is not None:
            raise SystemExit(f"the batch ended with {process.returncode} after {hits} kills: take more scans")
        workers = children(process.pid)
        if rng.random() < 0.5 and workers:
            target, what = rng.choice(workers), "worker kills"
        else:
            target, what = process.pid, "coordinator kills"
        try:
            os.kill(target, signal.SIGKILL)
        except ProcessLookupError:
            continue
        told[what] += 1
        if what == "coordinator kills":
            process.wait()
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
            told["coordinators"] += 1
    if process.wait() != 0:
        raise SystemExit(f"the batch ended with {process.returncode}")
    return told


def done(out: Path) -> int:
    return sum(1 for _ in out.glob("*/manifest.json"))


def compare(calm: Path, fire: Path) -> dict[str, Any]:
    """Every result of one batch held against that of the other."""
    names = sorted(path.parent.name for path in calm.glob("*/manifest.json"))
    others = sorted(path.parent.name for path in fire.glob("*/manifest.json"))
    same = 0
    for name in names:
        images = [(root / name / "reconstruction.nii.gz").read_bytes() for root in (calm, fire)]
        records = [json.loads((root / name / "run.json").read_text(encoding="utf-8")) for root in (calm, fire)]
        for record in records:
            for key in _VOLATILE:
                record.pop(key, None)
        same += images[0] == images[1] and records[0] == records[1]
    work = list((fire / ".medldm-batch" / "work").iterdir())
    return {"expected": len(names), "present": len(set(names) & set(others)), "equal": same, "left in work": len(work)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--between", type=int, default=12, help="most scans between two kills")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    args.out.mkdir(parents=True)
    recipe = args.out / "tiny.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    make_scans(args.out / "scans", args.scans)
    calm, fire = args.out / "calm", args.out / "fire"

    begun = time.monotonic()
    subprocess.run(command(args.out / "scans", calm, recipe, "-q"), check=True)
    undisturbed = time.monotonic() - begun
    begun = time.monotonic()
    words = command(args.out / "scans", fire, recipe, "-q", "--workers", "2", "--attempts", "3")
    told = disturbed(words, fire, args.kills, args.between, random.Random(args.seed))
    seconds = time.monotonic() - begun
    status = subprocess.run(
        [sys.executable, "-m", "medldm", "batch", "status", str(fire), "--json", "--verify"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(status.stdout)
    result = {
        **compare(calm, fire),
        **told,
        "damaged": len(found["damaged"]),
        "counts": found["counts"],
        "seconds undisturbed, one process": round(undisturbed, 1),
        "seconds under fire, two workers": round(seconds, 1),
    }
    print(json.dumps(result, indent=2))
    whole = result["present"] == result["equal"] == result["expected"] == args.scans
    if not whole or result["damaged"] or result["left in work"]:
        raise SystemExit("something is missing, damaged or different")


if __name__ == "__main__":
    main()
