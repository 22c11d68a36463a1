"""MATLAB 5 files (``save -v6`` and ``-v7``): numbers, texts and structs, from files that nobody vouches for.

Follows "MAT-File Format", The MathWorks. Objects, functions and sparse arrays are left out as None; sizes are held
against the bytes that are there before anything is allocated, and compressed variables against a limit.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medldm.errors import InputRefused
from medldm_rawdata.projections.hdf5_tree import opened
from medldm_rawdata.projections.stated import damaged, read_bytes, unreadable

MAGIC = b"MATLAB 5.0 MAT-file"
LATER = b"MATLAB 7.3 MAT-file"
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_REAL = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TYPES = _REAL | {16: "u1", 17: "u2"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC = range(6, 16)
_COMPLEX = 0x0800
_DEPTH = 8


class _Malformed(Exception):
    """The bytes make no sense."""


@dataclass
class _Bytes:
    """A stretch of a file, read element by element."""

    content: memoryview
    order: str
    at: int = 0

    def element(self) -> tuple[int, memoryview]:
        """Type and data of the next element; what it claims beyond the end is refused."""
        if len(self.content) - self.at < 8:
            raise _Malformed("an element ends early")
        kind, size = struct.unpack_from(f"{self.order}II", self.content, self.at)
        start, padded = self.at + 8, -(-size // 8) * 8
        if kind >> 16:
            kind, size, start, padded = kind & 0xFFFF, kind >> 16, self.at + 4, 4
        elif kind == _COMPRESSED:
            padded = size
        if start + size > len(self.content) or (kind >> 16 and size > 4):
            raise _Malformed(f"an element of {size} bytes has {len(self.content) - start}")
        self.at = start + padded
        return kind, self.content[start : start + size]

    def numbers(self) -> Any:
        """The next element as a flat array."""
        kind, data = self.element()
        if kind not in _TYPES or len(data) % int(_TYPES[kind][1]):
            raise _Malformed(f"an array of type {kind}")
        return np.frombuffer(data, dtype=self.order + _TYPES[kind])

    def left(self) -> bool:
        """Whether there is more."""
        return self.at < len(self.content)


def variables(path: Path, limit: int) -> dict[str, Any]:
    """All variables: arrays with MATLAB's axes, texts, and structs as dictionaries (lists of them where several).

    Args:
        path: a MATLAB 5 file.
        limit: bytes that the file, and its variables together once decompressed, may have.

    Raises:
        InputRefused: E-PRJ-01 unreadable, E-PRJ-02 damaged or not MATLAB 5, E-PRJ-06 larger than the limit.
    """
    content = read_bytes(path, limit)
    try:
        found = {}
        for body in _bodies(_checked(content), limit):
            name, value = _matrix(body, 0)
            found[name] = value
        return found
    except (_Malformed, struct.error, zlib.error, ValueError, MemoryError, OverflowError) as error:
        raise damaged(path, str(error) or "its sizes make no sense") from error


def first_name(path: Path) -> str:
    """Name of the first variable, from the file's beginning; empty where it is no MATLAB 5 file."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        if not head.startswith(MAGIC):
            return ""
        order = _order(head)
        kind, _ = struct.unpack_from(f"{order}II", head, _HEADER)
        body = head[_HEADER + 8 :]
        if kind == _COMPRESSED:
            body = zlib.decompressobj().decompress(body, 512)[8:]
        inner = _Bytes(memoryview(body), order)
        inner.element()
        inner.element()
        return bytes(inner.element()[1]).decode("ascii", "replace")
    except (OSError, _Malformed, struct.error, zlib.error):
        return ""


def later_names(path: Path) -> list[str] | None:
    """Names of the variables of a MATLAB 7.3 file, which is HDF5; None where it is none or will not open."""
    try:
        with path.open("rb") as file:
            if file.read(len(LATER)) != LATER:
                return None
        with opened(path) as tree:
            return [str(name) for name in tree]
    except (InputRefused, OSError):
        return None


def require_readable(path: Path) -> None:
    """Refuse before anything is read.

    Raises:
        InputRefused: E-PRJ-01 for a file that is not there, E-PRJ-04 for one of MATLAB 7.3.
    """
    try:
        with path.open("rb") as file:
            later = file.read(len(LATER)) == LATER
    except OSError as error:
        raise unreadable(path, error) from error
    if later:
        raise InputRefused(
            "E-PRJ-04",
            f"{path.name} is a file of MATLAB 7.3.",
            why="That is another format, HDF5; the struct is read from MATLAB 5 files.",
            fix="Load it in MATLAB and save it with '-v7'.",
        )


def _order(head: bytes) -> str:
    return ">" if head[126:128] == b"MI" else "<"


def _checked(content: bytes) -> _Bytes:
    if len(content) < _HEADER or not content.startswith(MAGIC):
        raise _Malformed("it is no MATLAB 5 file")
    return _Bytes(memoryview(content), _order(content), _HEADER)


def _bodies(file: _Bytes, limit: int) -> Iterator[_Bytes]:
    """The matrices at the top of the file, decompressed."""
    left = limit
    while file.left():
        kind, data = file.element()
        if kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            plain = inflater.decompress(data, left)
            if inflater.unconsumed_tail or not inflater.eof:
                raise _Malformed("a compressed variable ends early, or is larger than the memory allowed")
            left -= len(plain)
            kind, data = _Bytes(memoryview(plain), file.order).element()
        if kind == _MATRIX:
            yield _Bytes(data, file.order)


def _matrix(body: _Bytes, depth: int) -> tuple[str, Any]:
    if depth > _DEPTH:
        raise _Malformed("structs are nested too deeply")
    if not body.left():
        return "", None
    flags = int(body.numbers()[0])
    kind = flags & 0xFF
    dimensions = tuple(int(n) for n in body.numbers())
    if any(n < 0 for n in dimensions) or len(dimensions) > 32:
        raise _Malformed("an array of negative size")
    name = bytes(body.element()[1]).decode("ascii", "replace")
    count = 1
    for n in dimensions:
        count *= n
    if kind in _NUMERIC:
        if flags & _COMPLEX:
            return name, None
        values = body.numbers()
        if values.size != count:
            raise _Malformed(f"{name or 'an array'} states {count} values and holds {values.size}")
        return name, values.reshape(dimensions, order="F")
    if kind == _CHAR:
        return name, "".join(chr(int(c)) for c in body.numbers()[:4096])
    if kind in (_STRUCT, _CELL):
        return name, _members(body, kind, count, depth)
    return name, None


def _members(body: _Bytes, kind: int, count: int, depth: int) -> Any:
    """A struct as a dictionary, an array of structs as a list of them, a cell array as a list."""
    names = []
    if kind == _STRUCT:
        width = int(body.numbers()[0])
        text = bytes(body.element()[1])
        if width < 1:
            raise _Malformed("field names of no length")
        names = [text[i : i + width].split(b"\0")[0].decode("ascii", "replace") for i in range(0, len(text), width)]
    items: list[Any] = []
    for _ in range(count):
        if kind == _CELL:
            items.append(_inner(body, depth))
        else:
            items.append({name: _inner(body, depth) for name in names})
        if not names and kind == _STRUCT:
            break
    return items[0] if kind == _STRUCT and count == 1 and items else items


def _inner(body: _Bytes, depth: int) -> Any:
    kind, data = body.element()
    if kind != _MATRIX:
        raise _Malformed("a member of a struct is no array")
    return _matrix(_Bytes(data, body.order), depth + 1)[1]
