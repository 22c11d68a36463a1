"""The same batch in one process, on workers of a scheduler of its own processes, and as jobs of a fake Slurm.

    python benchmarks/batch_clusters.py --scans 12 --out clusters

Each way must give the same bytes. The scheduler and its workers are started as `dask scheduler` and `dask worker` on
loopback; `sbatch`, `squeue` and `scancel` are small scripts put in front of PATH, which run the generated job script.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from batch_kills import RECIPE, command, make_scans

SBATCH = """#!/bin/bash
# Takes a job as Slurm does: keeps its script, runs it in the background, tells its number.
number=$$
cp "${{@: -1}}" {spool}/$number.sh
setsid env SLURM_JOB_ID=$number bash {spool}/$number.sh > {spool}/$number.log 2>&1 &
echo $! > {spool}/$number.pid
echo "Submitted batch job $number"
"""
SCANCEL = """#!/bin/bash
kill -- -$(cat {spool}/$1.pid)
"""


def timed(words: list[str], environment: dict[str, str] | None = None) -> float:
    begun = time.monotonic()
    subprocess.run(words, check=True, env={**os.environ, **(environment or {})})
    return round(time.monotonic() - begun, 1)


def on_scheduler(words: list[str], folder: Path) -> float:
    """With a scheduler and two workers as processes of their own."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    hushed = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
        **hushed,
    )
    while not file.is_file():
        time.sleep(0.1)
    address = json.loads(file.read_text(encoding="utf-8"))["address"]
    one = [*dask, "worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"]
    workers = [subprocess.Popen(one, **hushed, cwd=folder) for _ in range(2)]
    try:
        return timed([*words, "--cluster", address])
    finally:
        for process in (*workers, scheduler):
            process.terminate()
            process.wait()


def on_slurm(words: list[str], folder: Path) -> tuple[float, int]:
    """As jobs of a fake Slurm: seconds and how many jobs."""
    binaries, spool = folder / "bin", folder / "spool"
    binaries.mkdir()
    spool.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        script = binaries / name
        script.write_text(text.format(spool=spool), encoding="utf-8")
        script.chmod(0o755)
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    options = ["walltime=00:30:00", "memory=2GB", "cores=1", "interface=lo", f"log-directory={spool}", "gres=gpu:1"]
    more = [word for option in options for word in ("--slurm", option)]
    seconds = timed([*words, "--cluster", "slurm", "--workers", "2", *more], {"PATH": path})
    jobs = sorted(spool.glob("*.sh"))
    print(jobs[0].read_text(encoding="utf-8"))
    return seconds, len(jobs)


def same(first: Path, second: Path) -> int:
    """Images that are the same, byte for byte."""
    files = sorted(first.glob("*/reconstruction.nii.gz"))
    return sum(file.read_bytes() == (second / file.relative_to(first)).read_bytes() for file in files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = args.out.absolute()
    folder.mkdir(parents=True)
    recipe, scans = folder / "tiny.yaml", folder / "scans"
    recipe.write_text(RECIPE, encoding="utf-8")
    make_scans(scans, args.scans)

    def words(name: str) -> list[str]:
        return command(scans, folder / name, recipe, "-q")

    result: dict[str, object] = {"seconds in process": timed(words("calm"))}
    result["seconds on a scheduler's two workers"] = on_scheduler(words("scheduler"), folder)
    result["seconds on a fake Slurm"], result["jobs"] = on_slurm(words("slurm"), folder)
    for name in ("scheduler", "slurm"):
        result[f"equal on {name}"] = same(folder / "calm", folder / name)
    print(json.dumps(result, indent=2))
    if {result["equal on scheduler"], result["equal on slurm"]} != {args.scans}:
        raise SystemExit("something is missing or different")


if __name__ == "__main__":
    main()
