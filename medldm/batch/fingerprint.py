"""Whether an input is the one it was: quickly by sizes and times, surely by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What may lie beside a file and belong to it, under the same stem.
_TWINS = (".json", ".img", ".img.gz", ".hdr", ".hdr.gz", ".cfl")


@dataclass(frozen=True)
class Fingerprint:
    """Of a file or of all files in a folder.

    Attributes:
        mark: hash of names, sizes and times; the same one means that nobody has touched the input.
        files: how many.
        bytes: all together.
    """

    mark: str
    files: int
    bytes: int


def fingerprint(path: Path, truth: Path | None = None) -> Fingerprint:
    """Of what lies at ``path``, and of its truth; no file is opened."""
    digest = hashlib.sha256()
    count = size = 0
    for file in (*files_of(path), *(() if truth is None else files_of(truth))):
        try:
            stat = file.stat()
        except OSError:
            continue  # it vanished meanwhile, which changes the mark
        name = str(file.relative_to(path)) if file.is_relative_to(path) else file.name
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
        count += 1
        size += stat.st_size
    return Fingerprint(digest.hexdigest(), count, size)


def content_hash(path: Path) -> str:
    """sha256 of the content of all files, whatever their names and their order."""
    hashes = []
    for file in files_of(path):
        with file.open("rb") as stream:
            hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def files_of(path: Path) -> Iterator[Path]:
    """The regular files of an input, in a stable order; a file's header or sidecar comes with it."""
    if path.is_dir():
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                file = Path(folder) / name
                if file.is_file():
                    yield file
        return
    if not path.is_file():
        return
    yield path
    stem = path.name.removesuffix(".gz")
    stem = stem[: len(stem) - len(Path(stem).suffix)]
    for ending in _TWINS:
        twin = path.with_name(stem + ending)
        if twin != path and twin.is_file():
            yield twin
