"""HDF5 files that nobody vouches for: nothing outside the file is opened, and no code is loaded to read it.

Each family of formats says so under codes of its own (:mod:`medldm_rawdata.hdf5_file` of k-space,
:mod:`medldm_rawdata.projections.hdf5_tree` of projections).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from medldm.errors import InputRefused

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Deflate, shuffle, Fletcher's checksum, szip, n-bit, scale-offset; and LZF, which h5py brings.
FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})


class LeadsOutError(Exception):
    """What it is about a member that would lead out of the file, in words."""


@contextmanager
def opened(
    path: Path, unreadable: Callable[[Path, OSError], InputRefused], damaged: Callable[[Path], InputRefused]
) -> Iterator[h5py.File]:
    """The file, for reading.

    Args:
        path: of the file.
        unreadable: the refusal where the system does not give it.
        damaged: the refusal where the library does not understand it, also where that is found out while data are read.

    Raises:
        InputRefused: one of the two.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise damaged(path) from error


def member(group: Any, name: str) -> Any:
    """The data set or group ``name`` that the group itself holds; None when it has none.

    Raises:
        LeadsOutError: a link, a storage or a filter leads out of the file.
    """
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise LeadsOutError("a link, possibly to another file")
    found = group[name]
    if isinstance(found, h5py.Dataset):
        if found.external or found.is_virtual:
            raise LeadsOutError("stored in another file")
        created = found.id.get_create_plist()
        foreign = {created.get_filter(k)[0] for k in range(created.get_nfilters())} - FILTERS
        if foreign:
            raise LeadsOutError(f"compressed by filter {min(foreign)}, which is not part of HDF5")
    return found
