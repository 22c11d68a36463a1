"""Settings of every test run."""

from __future__ import annotations

import os

# Read when torch is loaded. Spinning threads slow a machine that runs other things, too, down many times over.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
