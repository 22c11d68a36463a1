"""A file that appears whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path to write a file at, which takes the place of ``target`` when nothing was raised.

    It lies beside the target, hidden, with the same ending; when something was raised it is deleted. Its name is
    random: containers that write to one disk share the numbers of their processes.

    Args:
        target: the file to make or to replace.

    Raises:
        OSError: that of the system.
    """
    aside = target.with_name(f".part-{secrets.token_hex(4)}-{target.name}")
    try:
        yield aside
        aside.replace(target)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
