"""pydicom quotes header values in warnings and log lines; those must not reach a terminal or a log file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Collect warnings instead of showing them, and drop pydicom's log lines, while the block runs.

    Yields:
        The warnings so far: their number can be told, their text cannot.
    """
    logger = logging.getLogger("pydicom")
    silence = _Silence()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logger.addFilter(silence)
        try:
            yield caught
        finally:
            logger.removeFilter(silence)


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return False
