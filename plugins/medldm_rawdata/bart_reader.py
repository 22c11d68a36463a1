"""k-space of BART: ``NAME.cfl`` (complex64, column-major) and ``NAME.hdr`` (its sizes), with ``NAME.json`` beside.

BART's first dimensions are read, first phase encoding, second phase encoding, coil, maps; slices are dimension 13. They
become kx, ky, kz, coil and z. The pair states no voxel size, so the JSON file must.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from medldm.errors import InputRefused
from medldm_rawdata.described_array import described_scan
from medldm_rawdata.hdf5_file import damaged
from medldm_rawdata.kspace_description import KSpaceDescription, description_file
from medldm_rawdata.kspace_scan import KSpaceScan
from medldm_rawdata.one_scan import OneScanReader

_MARK = b"# Dimensions"
_DIMENSIONS, _SLICE = 16, 13
_NAMES = {0: "kx", 1: "ky", 2: "kz", 3: "coil", _SLICE: "z"}


@dataclass(frozen=True)
class BartReader(OneScanReader):
    """Reads a pair of ``.cfl`` and ``.hdr``; either may be given."""

    format: ClassVar[str] = "bart"

    def accepts(self, path: Path) -> bool:
        """By the first line of the header."""
        if path.suffix.lower() not in {".cfl", ".hdr"}:
            return False
        try:
            if not path.is_file():
                return False
            with path.with_suffix(".hdr").open("rb") as file:
                return file.read(len(_MARK)) == _MARK
        except OSError:
            return False

    def files(self, path: Path) -> list[Path]:
        """Both of the pair, and their description."""
        return [path, path.with_suffix(".hdr"), path.with_suffix(".cfl"), description_file(path)]

    def scan(self, path: Path, max_bytes: int) -> KSpaceScan:
        """See :class:`OneScanReader`."""
        header, content = path.with_suffix(".hdr"), path.with_suffix(".cfl")
        try:
            with header.open("rb") as file:
                sizes = _sizes(file.read(2**16), header)
            stored = content.stat().st_size
        except OSError as error:
            raise InputRefused(
                "E-KSP-01",
                f"{header.name} and {content.name} cannot both be read: {error.strerror or error}.",
                fix="Keep the pair together under one name.",
            ) from error
        if stored != 8 * math.prod(sizes):
            raise damaged(content)
        long = [i for i, n in enumerate(sizes) if n > 1]
        if not set(long) <= set(_NAMES) or {2, _SLICE} <= set(long):
            raise InputRefused(
                "E-KSP-07",
                f"{header.name} has the dimensions {' '.join(map(str, sizes))}.",
                why="Read, phase encodings, coils and slices are understood; maps, echoes, phases and time are not, "
                "nor slices and partitions together.",
                fix="Cut one out with: bart slice DIMENSION INDEX IN OUT.",
            )
        description = KSpaceDescription.beside(content)
        if description.axes is not None or description.sampling != "non-zero":
            raise InputRefused(
                "E-KSP-05",
                f"The description of {content.name} names axes or a mask.",
                why="BART's order of axes is fixed, and samples that are zero were not measured.",
                fix="Remove the entry.",
            )
        # A dimension of one is kept only where an axis is needed.
        kept = [i for i in _NAMES if i in (0, 1) or i in long]
        array = np.memmap(content, dtype="<c8", mode="r", shape=sizes, order="F")
        squeezed = array.transpose([*kept, *(i for i in range(len(sizes)) if i not in kept)]).reshape(
            [sizes[i] for i in kept]
        )
        return described_scan(squeezed, [_NAMES[i] for i in kept], description, self.format, path, max_bytes)


def _sizes(content: bytes, header: Path) -> tuple[int, ...]:
    lines = content.decode("ascii", errors="replace").splitlines()
    try:
        if not lines or not lines[0].startswith(_MARK.decode()):
            raise ValueError
        sizes = [int(word) for word in lines[1].split()]
        if not 1 <= len(sizes) <= _DIMENSIONS or not all(1 <= n <= 2**31 for n in sizes):
            raise ValueError
    except (ValueError, IndexError) as error:
        raise InputRefused(
            "E-KSP-05",
            f"{header.name} is no header of BART.",
            why="It gives up to 16 positive sizes in its second line.",
            fix="Write the pair again.",
        ) from error
    return (*sizes, *[1] * (_DIMENSIONS - len(sizes)))
