"""Images per second and peak memory of a training."""

from __future__ import annotations

import time

from medldm.pipeline.record import peak_memory_bytes


class Meter:
    """Steps and images since the last reading; time in which nothing was learnt does not count."""

    def __init__(self) -> None:
        self._steps = self._images = 0
        self._seconds = 0.0
        self._began = time.monotonic()

    def start(self) -> None:
        """The next step begins now."""
        self._began = time.monotonic()

    def add(self, images: int) -> None:
        """A step has ended."""
        now = time.monotonic()
        self._seconds += now - self._began
        self._began = now
        self._steps += 1
        self._images += images

    def read(self) -> tuple[float, float]:
        """Steps and images per second since the last reading."""
        seconds = max(self._seconds, 1e-9)
        rates = self._steps / seconds, self._images / seconds
        self._steps = self._images = 0
        self._seconds = 0.0
        return rates


def peak_gib() -> float:
    """Most memory held so far, GiB: on the GPU where one is used, else by this process."""
    return peak_memory_bytes() / 2**30
