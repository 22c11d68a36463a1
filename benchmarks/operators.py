"""All operator benchmarks, CT then MRI, beside the peers that are installed.

    python benchmarks/operators.py
    python benchmarks/operators.py --peers-ct VENV/bin/python --peers-mri VENV/bin/python

Each script runs in a process of its own, so that neither the thread settings nor the memory of one reaches the other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-ct", help="interpreter with astra-toolbox, scikit-image, deepinv")
    parser.add_argument("--peers-mri", help="interpreter with sigpy, mrpro, deepinv")
    arguments = parser.parse_args()
    failed = 0
    for script, peers in (("operators_ct.py", arguments.peers_ct), ("operators_mri.py", arguments.peers_mri)):
        extra = ["--peers", peers] if peers else []
        failed |= subprocess.run([sys.executable, str(HERE / script), *extra], check=False).returncode
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
