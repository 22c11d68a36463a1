"""The program's allocator keeps pages: a second large array is not cleared page by page again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from medldm.pipeline.allocator import keep_freed_pages
print(keep_freed_pages())
import numpy as np
size = 2**26
for _ in range(2):
    np.ones(size, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(size, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _run(**environment: str) -> list[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=plain | environment
    )
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_large_arrays_are_served_from_kept_pages() -> None:
    said, faults = _run()
    assert said == "True"
    assert int(faults) < 1000  # 4 x 64 MiB are 65536 pages of 4 KiB


def test_the_users_own_settings_win() -> None:
    assert _run(MALLOC_ARENA_MAX="2")[0] == "False"
