"""Train every prior that ships, by the commands that stand in their cards; stopped and resumed at any time.

    python benchmarks/train_priors.py ../shared/data/train -o trained
    python benchmarks/train_priors.py ../shared/data/train -o trained --minutes 9 --only slice-pixel
    python benchmarks/train_priors.py scans.pack -o trained --set patches.shapes=[{size: 96, batch: 128}]

Makes the phantoms first, unless packed scans are given, which hold theirs. Each stage goes on from the state that it
left in the folder; ``--minutes`` are shared among the stages that are not finished. The prior folders lie in
``OUT/STAGE/NAME`` at the end. ``--set`` goes to every stage.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from medldm.host.shipped import shipped

PHANTOMS = (101, 102, 103, 104, 105, 106)


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        config: its configuration, and the name of its folder.
        what: ``autoencoder`` or ``denoiser``.
        after: the stage whose autoencoder it needs.
        share: of the time.
        scans: folder below the data, and whether the phantoms join.
    """

    config: str
    what: str
    share: float
    after: str = ""
    scans: str = ""
    phantoms: bool = True


STAGES = (
    Stage("slice-pixel", "denoiser", 4.0),
    Stage("slice-autoencoder", "autoencoder", 2.0),
    Stage("slice-latent", "denoiser", 2.0, after="slice-autoencoder"),
    Stage("volume-autoencoder", "autoencoder", 1.0, scans="mri", phantoms=False),
    Stage("volume-latent", "denoiser", 1.0, after="volume-autoencoder", scans="mri", phantoms=False),
)


def make_phantoms(folder: Path) -> None:
    """Six synthetic people, each once."""
    for seed in PHANTOMS:
        place = folder / str(seed)
        if not (place / "truth.json").is_file():
            make = shipped("sample_data") / "make.py"
            words = ["--seed", str(seed), "--out", str(place), "--lesions", str(seed % 5)]
            subprocess.run([sys.executable, str(make), *words], check=True)


def finished(stage: Stage, out: Path) -> bool:
    """Whether the stage has made its prior folder."""
    return any((out / stage.config).glob("*/card.yaml"))


def train(stage: Stage, data: Path, out: Path, assignments: list[str], seconds: float | None) -> bool:
    """Run or resume a stage; True when it is finished."""
    if stage.after and not finished(next(s for s in STAGES if s.config == stage.after), out):
        print(f"{stage.config} waits for {stage.after}")
        return False
    scans = [data if data.is_file() or not stage.scans else data / stage.scans]
    if stage.phantoms and data.is_dir():
        scans.append(out / "phantoms")
    words = ["train", stage.what, *map(str, scans), "-o", str(out / stage.config), "--config", stage.config, "--resume"]
    for assignment in assignments:
        words += ["--set", assignment]
    if stage.after:
        words += ["--set", f"autoencoder={out / stage.after / stage.after}"]
    if seconds is not None:
        words += ["--stop-after", str(round(seconds))]
    print("medldm", *words, flush=True)
    subprocess.run([sys.executable, "-m", "medldm", *words], check=True)
    return finished(stage, out)


def main() -> int:
    """Parse and run; 0 when every stage is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of training scans, or a file of medldm train pack")
    parser.add_argument("--out", "-o", type=Path, required=True)
    parser.add_argument("--minutes", type=float, help="in all; without it every stage runs to its end")
    parser.add_argument("--only", action="append", choices=[stage.config for stage in STAGES])
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    arguments = parser.parse_args()
    stages = [stage for stage in STAGES if not arguments.only or stage.config in arguments.only]
    waiting = [stage for stage in stages if not finished(stage, arguments.out)]
    if arguments.data.is_dir() and any(stage.phantoms for stage in waiting):
        make_phantoms(arguments.out / "phantoms")
    total = sum(stage.share for stage in waiting)
    done = True
    for stage in waiting:
        seconds = None if arguments.minutes is None else 60 * arguments.minutes * stage.share / total
        done &= train(stage, arguments.data, arguments.out, arguments.assignments, seconds)
    return 0 if done else 1


if __name__ == "__main__":
    raise SystemExit(main())
