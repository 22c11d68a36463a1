"""fastMRI files: k-space of one series in HDF5, with the scanner's header.

``kspace`` is (slice, coil, read, phase), or without coils; readout stands along y and phase encoding along x, as these
images are shown. Readout oversampling is removed; the field of view along the phase encoding stays as it was measured,
since what lies beyond the image folds into it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem
from medldm_rawdata import hdf5_file
from medldm_rawdata.ismrmrd_header import ScanHeader
from medldm_rawdata.kspace_grid import NOT_STATED, nominal_grid
from medldm_rawdata.kspace_scan import KSpaceScan, Origin, require_finite, require_memory, scan_of
from medldm_rawdata.kspace_transform import without_oversampling
from medldm_rawdata.one_scan import OneScanReader

_NAMES = ("kspace", "ismrmrd_header")


@dataclass(frozen=True)
class FastMriReader(OneScanReader):
    """Reads ``.h5`` files with ``kspace`` and ``ismrmrd_header``."""

    format: ClassVar[str] = "fastmri"

    def accepts(self, path: Path) -> bool:
        """By the names of its two datasets; with one of them, and damaged, it is taken to be told what is wrong."""
        if not hdf5_file.is_hdf5(path):
            return False
        names = hdf5_file.names_in(path)
        if names is None:
            return any(hdf5_file.begins_with(path, name.encode()) for name in _NAMES)
        return any(name in names for name in _NAMES)

    def scan(self, path: Path, max_bytes: int) -> KSpaceScan:
        """See :class:`OneScanReader`."""
        with hdf5_file.opened(path) as file:
            if not set(_NAMES) <= set(file):
                raise hdf5_file.unlike(path, file, "fastMRI", " and ".join(_NAMES))
            header = ScanHeader.parse(
                hdf5_file.text_of(hdf5_file.member(file, "ismrmrd_header", path), path), path.name
            )
            stored = hdf5_file.member(file, "kspace", path)
            kspace = _kspace(stored, header, max_bytes, path)
            require_finite(kspace, path.name)
            stated = hdf5_file.member(file, "mask", path)
            mask = None if stated is None else _mask(hdf5_file.whole(stated, max_bytes, path), kspace, path)
        read, keep = header.encoded.matrix[0], header.read_pixels
        if keep < read:
            kspace = without_oversampling(kspace, -2, keep)
            mask = None if mask is None else mask[:keep]
        slices, _, ny, nx = kspace.shape
        thickness, phase_step, read_step = header.spacing
        grid = nominal_grid((slices, ny, nx), (thickness, read_step, phase_step))
        origin = Origin(self.format, path, problems=(_place_not_stated(slices, thickness),))
        return scan_of(kspace, grid, origin, mask=mask)


def _place_not_stated(slices: int, thickness: float) -> Problem:
    """The header knows how thick slices are in mm, not how far apart."""
    if slices == 1:
        return NOT_STATED
    told = f"Their distance is not stated either, and taken to be their thickness, {thickness:g} mm."
    return replace(NOT_STATED, sentence=f"{NOT_STATED.sentence} {told}")


def _kspace(stored: Any, header: ScanHeader, max_bytes: int, path: Path) -> NDArray[np.complex64]:
    shape: tuple[int, ...] = getattr(stored, "shape", None) or ()
    shape = (shape[0], 1, *shape[1:]) if len(shape) == 3 else shape
    expected = header.encoded.matrix[:2]
    if len(shape) != 4 or not isinstance(stored, h5py.Dataset) or stored.dtype.kind != "c" or shape[2:] != expected:
        raise InputRefused(
            "E-KSP-08",
            f"kspace in {path.name} is {' x '.join(map(str, shape)) or 'missing'}, the header encodes "
            f"{expected[0]} x {expected[1]} complex samples (read, phase).",
            why="Its axes are (slice, coil, read, phase) as fastMRI stores them.",
            fix="Repair the header, or describe the array by a JSON file: see the README of medldm_rawdata.",
        )
    if header.trajectory != "cartesian" or header.encoded.matrix[2] != 1:
        raise InputRefused(
            "E-KSP-07",
            f"{path.name} is a {header.trajectory} measurement of {header.encoded.matrix[2]} partitions.",
            why="Slices of two-dimensional Cartesian k-space are understood.",
            fix="Convert it to Cartesian slices first.",
        )
    require_memory(shape, max_bytes, path.name)
    return hdf5_file.whole(stored, max_bytes, path).astype(np.complex64, copy=False).reshape(shape)


def _mask(values: NDArray[Any], kspace: NDArray[np.complex64], path: Path) -> NDArray[np.bool_]:
    if values.size != kspace.shape[-1]:
        raise InputRefused(
            "E-KSP-08",
            f"The mask of {path.name} has {values.size} lines, k-space has {kspace.shape[-1]}.",
            why="It is not known which lines were measured.",
            fix="Store one value for each line of the phase encoding.",
        )
    return np.broadcast_to(values.reshape(-1) != 0, kspace.shape[-2:])
