"""The bytes of a NIfTI file, compressed or not, read with a bound that the header sets."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused

SUFFIXES = (".nii.gz", ".nii", ".hdr.gz", ".hdr", ".img.gz", ".img")
GZIP_MAGIC = b"\x1f\x8b"
# DEFLATE cannot expand a byte into more than 1032 (zlib technical details); a header that claims more lies.
DEFLATE_LIMIT = 1032
# Measured images carry noise and compress less than tenfold. A large file beyond this ratio holds next to nothing.
RATIO_LIMIT = 250
RATIO_FREE_BYTES = 64 * 2**20
_CHUNK = 2**20


def suffix(path: Path) -> str:
    """The NIfTI suffix of a file name in lower case, empty for another name."""
    name = path.name.lower()
    return next((s for s in SUFFIXES if name.endswith(s)), "")


def stem(path: Path) -> str:
    """File name without its NIfTI suffix."""
    return path.name[: len(path.name) - len(suffix(path))]


def pair(path: Path) -> tuple[Path, Path]:
    """The files that hold the header and the voxels; the same one for ``.nii`` and ``.nii.gz``.

    Raises:
        InputRefused: E-NII-02 when the other half of a ``.hdr``/``.img`` pair is not there.
    """
    kind = suffix(path)
    if not kind.startswith((".hdr", ".img")):
        return path, path
    wanted = ".img" if kind.startswith(".hdr") else ".hdr"
    for candidate in sorted(path.parent.iterdir()):
        if stem(candidate) == stem(path) and suffix(candidate) in (wanted, f"{wanted}.gz"):
            return (path, candidate) if wanted == ".img" else (candidate, path)
    raise InputRefused(
        "E-NII-02",
        f"{path.name} has no {wanted} file beside it.",
        why="A NIfTI pair keeps its header and its voxels in two files.",
        fix=f"Put {stem(path)}{wanted} into the same folder.",
    )


@dataclass(frozen=True)
class Container:
    """One file of a NIfTI image.

    Attributes:
        path: of the file.
        size: its bytes on disk.
        compressed: by its first bytes, whatever its name says.
    """

    path: Path
    size: int
    compressed: bool

    @classmethod
    def of(cls, path: Path) -> Container:
        """Look at a file.

        Raises:
            InputRefused: E-NII-01 when there is no readable regular file, E-NII-03 when it is empty.
        """
        if not path.is_file():
            raise InputRefused(
                "E-NII-01",
                f"There is no regular file {path.name}.",
                fix="Check the path; folders and links must exist.",
            )
        size = path.stat().st_size
        if size == 0:
            raise InputRefused("E-NII-03", f"{path.name} is empty.", fix="Copy or export the file again.")
        try:
            with path.open("rb") as file:
                head = file.read(2)
        except OSError as error:
            raise InputRefused(
                "E-NII-01", f"{path.name} cannot be read: {error.strerror}.", fix="Check its permissions."
            ) from error
        return cls(path, size, head == GZIP_MAGIC)

    def head(self, count: int) -> bytes:
        """Up to ``count`` first bytes of the content."""
        with self._stream() as stream:
            return stream.read(count)

    def require(self, content: int) -> None:
        """Refuse a header that claims more content than the file can hold, before anything is allocated.

        Args:
            content: bytes that the header claims, from the start of the file to the last voxel.

        Raises:
            InputRefused: E-NII-05 when the file is too short for it, E-NII-06 for a decompression bomb.
        """
        bound = self.size * DEFLATE_LIMIT if self.compressed else self.size
        if content > bound:
            raise InputRefused(
                "E-NII-05",
                f"The header of {self.path.name} claims {content} bytes, the file holds at most {bound}.",
                why="The file is truncated or its header is wrong.",
                fix="Copy or export the file again.",
            )
        if self.compressed and content > RATIO_FREE_BYTES and content > RATIO_LIMIT * self.size:
            raise InputRefused(
                "E-NII-06",
                f"{self.path.name} expands {content / self.size:.0f}-fold to {content / 2**20:.0f} MiB.",
                why=f"Scans compress less than {RATIO_LIMIT}-fold; such a file is a decompression bomb or empty.",
                fix="If you trust it, decompress it with gunzip and read the .nii file.",
            )

    def voxels(self, offset: int, count: int, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
        """``count`` samples from byte ``offset`` of the content; never reads far beyond them.

        Raises:
            InputRefused: E-NII-04 for a damaged gzip stream, E-NII-05 for one that ends too early.
        """
        out = np.empty(count, dtype=dtype)
        view = out.view(np.uint8).data
        with self._stream() as stream:
            if self.compressed:
                self._skip(stream, offset)
            else:
                stream.seek(offset)
            done = 0
            while done < len(view):
                got = cast(gzip.GzipFile, stream).readinto(view[done : done + _CHUNK])
                if not got:
                    raise self._truncated(done, len(view))
                done += got
            # Reaching the end of the stream is what makes gzip compare its checksum.
            stream.read(_CHUNK)
        return out

    def _skip(self, stream: BinaryIO, count: int) -> None:
        while count:
            got = len(stream.read(min(_CHUNK, count)))
            if not got:
                raise self._truncated(0, count)
            count -= got

    def _truncated(self, done: int, wanted: int) -> InputRefused:
        return InputRefused(
            "E-NII-05",
            f"{self.path.name} ends after {done} of {wanted} bytes of voxels.",
            why="The file is truncated.",
            fix="Copy or export the file again.",
        )

    @contextmanager
    def _stream(self) -> Iterator[BinaryIO]:
        with self.path.open("rb") as file:
            try:
                yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if self.compressed else file
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise InputRefused(
                    "E-NII-04",
                    f"{self.path.name} is a damaged or truncated gzip file.",
                    why="Its voxels cannot be trusted.",
                    fix="Copy or export the file again.",
                ) from error
