"""Data sets of an HDF5 file that nobody vouches for.

Nothing outside the file is opened and no code is loaded: external links, external storage, virtual data sets and
filters other than those of the library are refused, and only numbers are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata.projections.stated import damaged, unreadable

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Deflate, shuffle, Fletcher32, szip, nbit, scale-offset; and LZF, which h5py brings. Others come as shared libraries.
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, read only.

    Raises:
        InputRefused: E-PRJ-01 when it cannot be read, E-PRJ-02 when it is truncated, damaged or not HDF5, also where
            that is found out while its data are read.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        # The library reports all that it does not understand as one of these.
        raise damaged(path, "the HDF5 library cannot read it") from error


def data_set(file: Any, name: str, path: Path) -> Any | None:
    """A data set of numbers under a name with slashes; None when there is none.

    Raises:
        InputRefused: E-PRJ-05 when it would lead outside the file or need a foreign filter, E-PRJ-04 when it does not
            hold numbers.
    """
    node = file
    for part in name.split("/"):
        if not isinstance(node, h5py.Group):
            return None
        link = node.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise _outside(path, name, "a link")
        node = node[part]
    if not isinstance(node, h5py.Dataset):
        return None
    if node.is_virtual or node.external:
        raise _outside(path, name, "data kept in other files")
    filters = node.id.get_create_plist()
    numbers = {filters.get_filter(k)[0] for k in range(filters.get_nfilters())}
    if not numbers <= _FILTERS:
        raise InputRefused(
            "E-PRJ-05",
            f"{name} of {path.name} is compressed by filter {min(numbers - _FILTERS)}, which HDF5 does not bring.",
            why="Its code would have to be loaded from elsewhere.",
            fix="Repack the file: h5repack -f GZIP=4 old.h5 new.h5",
        )
    if node.dtype.kind not in "iuf":
        raise InputRefused(
            "E-PRJ-04",
            f"{name} of {path.name} is of type {node.dtype}.",
            why="A measurement is an array of whole or real numbers.",
            fix="Check what the file is.",
        )
    return node


def words(node: Any, attribute: str) -> str:
    """A text attribute of a data set; empty where there is none."""
    value = node.attrs.get(attribute, "") if attribute in node.attrs else ""
    if isinstance(value, (bytes, np.bytes_)):
        return bytes(value).decode("utf-8", "replace").strip()
    return value.strip() if isinstance(value, str) else ""


def numbers(node: Any, selection: Any = ()) -> NDArray[Any]:
    """The values of a data set, or of a part of it, in the machine's byte order."""
    values = np.asarray(node[selection])
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _outside(path: Path, name: str, what: str) -> InputRefused:
    return InputRefused(
        "E-PRJ-05",
        f"{name} of {path.name} is {what}.",
        why="A scan must not make medldm read other files.",
        fix="Copy the data into the file itself: h5copy, or h5repack.",
    )
