"""An array of k-space from ``NAME.nii`` or ``NAME.nii.gz``, its size known before it is read."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata.hdf5_file import damaged
from medldm_rawdata.kspace_scan import require_memory

ENDINGS = (".nii", ".nii.gz")
_GZIP, _CHUNK = b"\x1f\x8b", 2**20
# DEFLATE cannot expand a byte into more (zlib technical details); a header that claims more lies.
_DEFLATE = 1032
# By its length in bytes: what the header is, and the magic string of one file for header and samples.
_HEADERS: dict[int, tuple[Any, bytes]] = {348: (Nifti1Header, b"n+1"), 540: (Nifti2Header, b"n+2")}


def read_nifti(path: Path, max_bytes: int) -> NDArray[Any]:
    """The array of complex samples; NIfTI's axes are turned round, so that the fastest comes last as in NumPy.

    No more of a compressed file is expanded than its header claims, and no more is claimed than is allowed.

    Raises:
        InputRefused: E-KSP-02 damaged or truncated, E-KSP-08 no complex samples, E-KSP-10 too large.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        compressed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else cast(BinaryIO, file)
        try:
            return _read(stream, path.stat().st_size * (_DEFLATE if compressed else 1), path, max_bytes)
        except (EOFError, gzip.BadGzipFile, zlib.error, HeaderDataError, ValueError, OverflowError) as error:
            raise damaged(path) from error


def _read(stream: BinaryIO, most: int, path: Path, max_bytes: int) -> NDArray[Any]:
    header, slope = _header(stream, path)
    dtype, shape = header.get_data_dtype(), header.get_data_shape()
    if dtype.kind != "c" or dtype.itemsize not in (8, 16):
        raise _refused(path, f"holds samples of type {dtype.name}")
    count = math.prod(int(n) for n in shape)
    if not shape or min(shape) < 1 or count * dtype.itemsize > most:
        raise damaged(path)
    require_memory((count, dtype.itemsize // 8), max_bytes, path.name)
    samples = np.empty(count, dtype=dtype)
    view = samples.view(np.uint8).data
    # In parts: a buffer is filled, and nothing is expanded beyond it.
    done = 0
    while done < len(view):
        got = cast(gzip.GzipFile, stream).readinto(view[done : done + _CHUNK])
        if not got:
            raise damaged(path)
        done += got
    # Reaching the end of the stream is what makes gzip compare its checksum.
    stream.read(_CHUNK)
    # Scaled in single precision where it is stored so.
    scaled = samples if slope == 1 else samples * np.asarray(slope, dtype=samples.real.dtype)
    return scaled.reshape(shape[::-1])


def _header(stream: BinaryIO, path: Path) -> tuple[Any, float]:
    """The header, the stream standing at the first sample, and what the samples are to be multiplied by."""
    block = stream.read(348)
    size = next((n for order in "<>" for n in _HEADERS if struct.unpack(f"{order}i", block[:4].ljust(4))[0] == n), 0)
    block += stream.read(size - len(block)) if size > len(block) else b""
    if not size or len(block) < size:
        raise damaged(path)
    kind, magic = _HEADERS[size]
    header = kind(block, check=False)
    offset, slope, shift = (float(header[name]) for name in ("vox_offset", "scl_slope", "scl_inter"))
    # By the standard a slope of zero scales nothing; a shift would fill in what was not measured.
    slope, shift = (1.0, 0.0) if slope == 0 or math.isnan(slope) else (slope, shift)
    if bytes(header["magic"])[:3] != magic or not size + 4 <= offset < 2**31 or not math.isfinite(slope):
        raise damaged(path)
    if shift != 0:
        raise _refused(path, f"shifts its samples by {shift:g}")
    left = int(offset) - size
    while left:
        skipped = len(stream.read(min(_CHUNK, left)))
        if not skipped:
            raise damaged(path)
        left -= skipped
    return header, slope


def _refused(path: Path, fault: str) -> InputRefused:
    return InputRefused(
        "E-KSP-08",
        f"{path.name} {fault}.",
        why="k-space is complex, and what was not measured is zero.",
        fix="Store it as complex64 without an intercept.",
    )
