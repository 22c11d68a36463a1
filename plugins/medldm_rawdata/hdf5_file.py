"""HDF5 files of k-space from anywhere: nothing is allocated before it is measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata import guarded_hdf5
from medldm_rawdata.guarded_hdf5 import SIGNATURE, LeadsOutError

_HEAD = 1 << 16
# Of the data sets of a file that a refusal names, and of the length of each name.
_LISTED, _LONGEST = 12, 60


def is_hdf5(path: Path) -> bool:
    """By its first bytes; never raises."""
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


def names_in(path: Path) -> dict[str, bool] | None:
    """Names at the top and whether the file itself holds them, no link followed; None where it will not open."""
    try:
        with opened(path) as file:
            return {str(name): isinstance(file.get(name, getlink=True), h5py.HardLink) for name in file}
    except InputRefused:
        return None


def begins_with(path: Path, word: bytes) -> bool:
    """Whether a word stands near the beginning, where names are stored: all that a damaged file tells."""
    try:
        with path.open("rb") as file:
            return word in file.read(_HEAD)
    except OSError:
        return False


def contents(group: Any) -> str:
    """Some data sets of a file and their sizes, in words; links are not followed."""
    found: list[str] = []

    def note(name: str, node: Any) -> bool | None:
        if isinstance(node, h5py.Dataset):
            size = " x ".join(map(str, node.shape or ())) or "one value"
            found.append(f"{name[:_LONGEST]} ({size})")
        return True if len(found) > _LISTED else None

    group.visititems(note)
    more = " and more" if len(found) > _LISTED else ""
    return f"{', '.join(found[:_LISTED]) or 'no data sets'}{more}"


def unlike(path: Path, group: Any, nearest: str, needs: str) -> InputRefused:
    """The refusal of a file that resembles a format and lacks what it is read from."""
    return InputRefused(
        "E-KSP-08",
        f"{path.name} holds {contents(group)}; the nearest format, {nearest}, has {needs}.",
        why="What is not stored under its name is not guessed.",
        fix="Convert the scan again, or store the array as .npy with a JSON: see the README of medldm_rawdata.",
    )


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, for reading; the library's exceptions become refusals.

    Raises:
        InputRefused: E-KSP-01 not readable, E-KSP-02 damaged or truncated.
    """
    with guarded_hdf5.opened(path, _unreadable, damaged) as file:
        yield file


def _unreadable(path: Path, error: OSError) -> InputRefused:
    return InputRefused(
        "E-KSP-01", f"{path.name} cannot be read: {error.strerror or error}.", fix="Check the path and permissions."
    )


def damaged(path: Path) -> InputRefused:
    """The refusal of a file whose bytes cannot be understood."""
    return InputRefused(
        "E-KSP-02",
        f"{path.name} is damaged or truncated.",
        why="Half a measurement gives a wrong image.",
        fix="Copy the file again, or export it again.",
    )


def member(group: Any, name: str, path: Path) -> Any:
    """The dataset or group ``name`` that the group itself holds; None when it has none.

    Raises:
        InputRefused: E-KSP-03 when a link, a storage or a filter leads out of the file.
    """
    try:
        return guarded_hdf5.member(group, name)
    except LeadsOutError as fault:
        raise InputRefused(
            "E-KSP-03",
            f"{name!r} in {path.name} is {fault}.",
            why="A file from anywhere may not decide what else is opened.",
            fix="Write it into one file of its own, for instance with h5repack.",
        ) from fault


def whole(dataset: Any, max_bytes: int, path: Path) -> NDArray[Any]:
    """All values of a small dataset.

    Raises:
        InputRefused: E-KSP-10 when they would not fit, E-KSP-08 when they are objects.
    """
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.hasobject or dataset.shape is None:
        raise InputRefused(
            "E-KSP-08",
            f"An array of {path.name} is no table of numbers.",
            why="It cannot be understood.",
            fix="Export the file again.",
        )
    if math.prod(dataset.shape) * dataset.dtype.itemsize > max_bytes:
        raise InputRefused(
            "E-KSP-10",
            f"{path.name} needs more than {max_bytes / 2**30:.3g} GiB of memory to read.",
            fix="Allow more memory, or export fewer slices.",
        )
    return np.asarray(dataset[()])


def text_of(dataset: Any, path: Path, most: int = 4 * 2**20) -> bytes:
    """A text stored as one string, or as an array of one.

    Raises:
        InputRefused: E-KSP-06 when it is anything else, or longer than ``most`` bytes.
    """
    value = None
    if isinstance(dataset, h5py.Dataset) and dataset.shape is not None and math.prod(dataset.shape) == 1:
        value = dataset[()]
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.flat[0]
    value = value.encode() if isinstance(value, str) else value
    if not isinstance(value, bytes) or len(value) > most:
        raise InputRefused(
            "E-KSP-06",
            f"The header of {path.name} is no text of at most {most // 2**20} MiB.",
            why="The measurement is described by it.",
            fix="Convert the scan again.",
        )
    return value
