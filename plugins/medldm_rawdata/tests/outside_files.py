"""Whether files of a folder are opened, by whatever library: asked of the operating system."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_IN_OPEN = 0x20


def opens_a_file_of(folder: Path, work: Callable[[], object]) -> bool:
    """Whether ``work`` opens anything in the folder. To patch ``open`` would not tell: HDF5 opens files in C."""
    if sys.platform != "linux":
        pytest.skip("openings are counted by inotify, which only Linux has")
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.inotify_init1(os.O_NONBLOCK)
    if events < 0 or libc.inotify_add_watch(events, os.fsencode(folder), _IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), "inotify cannot watch the folder")
    try:
        work()
        return _any(events)
    finally:
        os.close(events)


def _any(events: int) -> bool:
    try:
        return len(os.read(events, 4096)) > 0
    except BlockingIOError:  # there is none
        return False
