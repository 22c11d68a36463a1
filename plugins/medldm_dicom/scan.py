"""Which files under a path may be DICOM: regular files inside it, told by their first bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from medldm.errors import InputRefused

MAX_FILES = 200_000
_PROBED_BY_ACCEPTS = 500
# A data set without preamble begins with a low group in little-endian order: (0002,xxxx) or (0008,xxxx).
_BARE_GROUPS = (b"\x02\x00", b"\x08\x00")
_EXPLICIT_VRS = (b"UL", b"UI", b"OB", b"CS", b"SH", b"DA", b"TM", b"LO")


def regular_files(path: Path) -> Iterator[Path]:
    """Files at or under ``path`` in a stable order; no sockets, no devices, no links that lead out of it.

    Raises:
        InputRefused: the path does not exist (``E-DCM-21``), or there are too many files (``E-DCM-18``).
    """
    if not path.exists():
        raise InputRefused("E-DCM-21", f"There is nothing at {path.name!r}.", fix="Check the path.")
    if path.is_file():
        yield path
        return
    root = path.resolve()
    count = 0
    for folder, folders, names in os.walk(path, followlinks=False):
        folders.sort()
        for name in sorted(names):
            file = Path(folder) / name
            if not file.is_file() or (file.is_symlink() and not file.resolve().is_relative_to(root)):
                continue
            count += 1
            if count > MAX_FILES:
                raise InputRefused(
                    "E-DCM-18",
                    f"There are more than {MAX_FILES} files under {path.name!r}.",
                    why="Reading every header would take very long.",
                    fix="Name the folder of one patient or study.",
                )
            yield file


def has_prefix(start: bytes) -> bool:
    """True for a file that begins with preamble and ``DICM``."""
    return start[128:132] == b"DICM"


def is_bare(start: bytes) -> bool:
    """True for what looks like a data set written without preamble, as old scanners did."""
    if len(start) < 12 or start[:2] not in _BARE_GROUPS or start[3] != 0:
        return False
    explicit = start[4:6] in _EXPLICIT_VRS
    return explicit or int.from_bytes(start[4:8], "little") <= 64


def looks_like_dicom(file: Path) -> bool:
    """By the first 132 bytes; False for a file that cannot be opened."""
    try:
        with file.open("rb") as stream:
            start = stream.read(132)
    except OSError:
        return False
    return has_prefix(start) or is_bare(start)


def is_claimed(file: Path) -> bool:
    """True when the name says DICOM, whatever the content."""
    return file.suffix.lower() in {".dcm", ".dicom", ".ima"}


def dicom_files(path: Path) -> Iterator[Path]:
    """Files at or under ``path`` that are DICOM by their first bytes, or claim it by their names.

    Raises:
        InputRefused: those of :func:`regular_files`.
    """
    return (file for file in regular_files(path) if looks_like_dicom(file) or is_claimed(file))


def accepts(path: Path) -> bool:
    """True when the path is, or soon contains, something that is or claims to be DICOM."""
    try:
        for count, file in enumerate(regular_files(path)):
            if is_claimed(file) or looks_like_dicom(file):
                return True
            if count >= _PROBED_BY_ACCEPTS:
                return False
    except (InputRefused, OSError):
        return False
    return False
