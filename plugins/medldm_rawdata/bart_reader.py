"""k-space of BART: ``NAME.cfl`` and ``NAME.hdr``, with ``NAME.json`` beside.

On a Cartesian grid BART's first dimensions are read, first phase encoding, second phase encoding, coil, maps; slices
are dimension 13. They become kx, ky, kz, coil and z. Along a trajectory, another pair that the description names,
dimension 1 is the samples of a shot and dimension 2 the shots. The pair states no voxel size, so the JSON file must.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from medldm.errors import InputRefused
from medldm_rawdata.bart_pair import MARK, BartPair, files
from medldm_rawdata.described_array import described_scan
from medldm_rawdata.described_shots import described_shots
from medldm_rawdata.kspace_description import Axis, KSpaceDescription, description_file
from medldm_rawdata.kspace_scan import KSpaceScan
from medldm_rawdata.one_scan import OneScanReader

_SLICE = 13
_GRID: dict[int, Axis] = {0: "kx", 1: "ky", 2: "kz", 3: "coil", _SLICE: "z"}
_SHOTS: dict[int, Axis] = {_SLICE: "z", 3: "coil", 2: "shot", 1: "sample"}
# Of a trajectory's third component, in steps of 1 / field of view: what rounding leaves of a plane.
_FLAT = 1e-3


@dataclass(frozen=True)
class BartReader(OneScanReader):
    """Reads a pair of ``.cfl`` and ``.hdr``; either may be given."""

    format: ClassVar[str] = "bart"

    def accepts(self, path: Path) -> bool:
        """By the first line of the header."""
        if path.suffix not in {".cfl", ".hdr"}:
            return False
        try:
            if not path.is_file():
                return False
            with path.with_suffix(".hdr").open("rb") as file:
                return file.read(len(MARK)) == MARK
        except OSError:
            return False

    def files(self, path: Path) -> list[Path]:
        """Both of the pair, their description, and the pair of a trajectory."""
        named = [path, *files(path), description_file(path)]
        try:
            trajectory = KSpaceDescription.beside(path).trajectory
        except InputRefused:
            return named
        return named if trajectory is None else [*named, *files(path.with_name(trajectory))]

    def scan(self, path: Path, max_bytes: int) -> KSpaceScan:
        """See :class:`OneScanReader`."""
        pair = BartPair.of(path)
        description = KSpaceDescription.beside(pair.content)
        if description.axes is not None or description.sampling != "non-zero":
            raise InputRefused(
                "E-KSP-05",
                f"The description of {pair.content.name} names axes or a mask.",
                why="BART's order of axes is fixed, and samples that are zero were not measured.",
                fix="Remove the entry.",
            )
        if description.trajectory is not None:
            return self._along(pair, path.with_name(description.trajectory), description, path, max_bytes)
        if not set(pair.long) <= set(_GRID) or {2, _SLICE} <= set(pair.long):
            raise pair.not_understood(
                why="Read, phase encodings, coils and slices are understood; maps, echoes, phases and time are not, "
                "nor slices and partitions together.",
                fix="Cut one out with: bart slice DIMENSION INDEX IN OUT. k-space along a trajectory needs the entry "
                f"trajectory in {description_file(path).name}.",
            )
        if pair.sizes[0] == 1 and {1, 2} <= set(pair.long):
            raise pair.not_understood(
                why="Dimension 0 is one: so lie samples (1) and shots (2) along a trajectory, and nothing names one.",
                fix=f"Name its pair by the entry trajectory in {description_file(path).name}. A Cartesian plane of two "
                "phase encodings is read after: bart transpose 0 2 IN OUT.",
            )
        # A dimension of one is kept only where an axis is needed.
        kept = [i for i in _GRID if i in (0, 1) or i in pair.long]
        axes = [_GRID[i] for i in kept]
        return described_scan(pair.array(kept), axes, description, self.format, path, max_bytes)

    def _along(
        self, pair: BartPair, beside: Path, description: KSpaceDescription, path: Path, max_bytes: int
    ) -> KSpaceScan:
        if not set(pair.long) <= set(_SHOTS):
            raise pair.not_understood(
                why="Along a trajectory samples (dimension 1), shots (2), coils (3) and slices (13) are understood.",
                fix="Cut one index out of the others with: bart slice DIMENSION INDEX IN OUT.",
            )
        trajectory = BartPair.of(beside)
        if trajectory.sizes[0] != 3 or not set(trajectory.long) <= {0, 1, 2}:
            raise trajectory.not_understood(
                why="A trajectory has three components (dimension 0), samples (1) and shots (2), one for all slices.",
                fix="Cut one index out of the others with: bart slice DIMENSION INDEX IN OUT.",
            )
        places = trajectory.array([2, 1, 0]).real
        if np.abs(places[..., 2]).max() > _FLAT:
            raise trajectory.not_understood(
                why="Its third component is not zero, and trajectories in a plane are understood.",
                fix="Transform a stack along its partitions first, with: bart fft -i.",
            )
        # kx, ky, kz of BART
        arrays = {"kspace": pair.array(list(_SHOTS)), "trajectory": places[..., 1::-1]}
        return described_shots(arrays, list(_SHOTS.values()), description, self.format, path, max_bytes)
