"""Data sets of HDF5 files with projections: only numbers are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata import guarded_hdf5
from medldm_rawdata.guarded_hdf5 import LeadsOutError
from medldm_rawdata.projections.stated import damaged, unreadable


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, read only.

    Raises:
        InputRefused: E-PRJ-01 when it cannot be read, E-PRJ-02 when it is truncated, damaged or not HDF5, also where
            that is found out while its data are read.
    """
    with guarded_hdf5.opened(path, unreadable, _damaged) as file:
        yield file


def data_set(file: Any, name: str, path: Path) -> Any | None:
    """A data set of numbers under a name with slashes; None when there is none.

    Raises:
        InputRefused: E-PRJ-05 when it would lead outside the file or need a foreign filter, E-PRJ-04 when it does not
            hold numbers.
    """
    node = file
    try:
        for part in name.split("/"):
            node = guarded_hdf5.member(node, part) if isinstance(node, h5py.Group) else None
    except LeadsOutError as fault:
        raise InputRefused(
            "E-PRJ-05",
            f"{name} of {path.name} is {fault}.",
            why="A scan must not make medldm read other files, or load code.",
            fix="Copy the data into one file: h5copy, or h5repack -f GZIP=4 old.h5 new.h5.",
        ) from fault
    if not isinstance(node, h5py.Dataset):
        return None
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


def _damaged(path: Path) -> InputRefused:
    return damaged(path, "the HDF5 library cannot read it")
