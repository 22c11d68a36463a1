"""Arrays of BART: ``NAME.cfl`` holds complex64, column-major, and ``NAME.hdr`` up to 16 sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata.hdf5_file import damaged

MARK = b"# Dimensions"
_DIMENSIONS = 16


@dataclass(frozen=True)
class BartPair:
    """A pair whose sizes are known and whose content is as long as they say; nothing of it is read yet.

    Attributes:
        header, content: its files.
        sizes: of the 16 dimensions.
    """

    header: Path
    content: Path
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, path: Path) -> BartPair:
        """Open either file of a pair.

        Raises:
            InputRefused: E-KSP-01 one cannot be read, E-KSP-02 the content is cut off, E-KSP-05 no header.
        """
        header, content = files(path)
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
        return cls(header, content, sizes)

    @property
    def long(self) -> list[int]:
        """The dimensions of more than one."""
        return [i for i, n in enumerate(self.sizes) if n > 1]

    def array(self, kept: list[int]) -> NDArray[Any]:
        """The array of some dimensions in this order, mapped into memory; all others have one index."""
        array = np.memmap(self.content, dtype="<c8", mode="r", shape=self.sizes, order="F")
        others = [i for i in range(len(self.sizes)) if i not in kept]
        return array.transpose([*kept, *others]).reshape([self.sizes[i] for i in kept])

    def not_understood(self, why: str, fix: str) -> InputRefused:
        """E-KSP-07."""
        said = f"{self.header.name} has the dimensions {' '.join(map(str, self.sizes))}."
        return InputRefused("E-KSP-07", said, why=why, fix=fix)


def files(path: Path) -> tuple[Path, Path]:
    """Header and content, of the path of either, or of their name without ending."""
    name = path.name.removesuffix(".cfl").removesuffix(".hdr")
    return path.with_name(f"{name}.hdr"), path.with_name(f"{name}.cfl")


def _sizes(content: bytes, header: Path) -> tuple[int, ...]:
    lines = content.decode("ascii", errors="replace").splitlines()
    try:
        if not lines or not lines[0].startswith(MARK.decode()):
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
