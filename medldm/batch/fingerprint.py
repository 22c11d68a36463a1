"""Whether an input is the one it was: quickly by sizes and times, surely by content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from medldm.host import Host
from medldm.pipeline.reading import files_of


@dataclass(frozen=True)
class Fingerprint:
    """Of all files that an input is read from.

    Attributes:
        mark: hash of names, sizes and times; the same one means that nobody has touched the input.
        files: how many.
        bytes: all together.
    """

    mark: str
    files: int
    bytes: int


def fingerprint(host: Host, path: Path, truth: Path | None = None) -> Fingerprint:
    """Of what lies at ``path``, and of its truth; the readers look at first bytes and descriptions, nothing else."""
    digest = hashlib.sha256()
    count = size = 0
    for file in (*files_of(host, path), *(() if truth is None else files_of(host, truth))):
        try:
            stat = file.stat()
        except OSError:
            continue  # it vanished meanwhile, which changes the mark
        name = str(file.relative_to(path)) if file.is_relative_to(path) else file.name
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
        count += 1
        size += stat.st_size
    return Fingerprint(digest.hexdigest(), count, size)


def content_hash(host: Host, path: Path) -> str:
    """sha256 of the content of all files that an input is read from, whatever their names and their order."""
    hashes = []
    for file in files_of(host, path):
        with file.open("rb") as stream:
            hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
