"""Data Exchange HDF5 (De Carlo et al. 2014), the format of synchrotron tomography, as parallel-beam acquisitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.data import Acquisition, ReadRequest, SeriesRow, Volume
from medldm.errors import InputRefused, Problem
from medldm_rawdata.guarded_hdf5 import SIGNATURE
from medldm_rawdata.projections.flat_field import FlatField
from medldm_rawdata.projections.hdf5_tree import data_set, numbers, opened, words
from medldm_rawdata.projections.measured import Detector, Projections, require_finite, require_memory
from medldm_rawdata.projections.rotation_centre import find_centre
from medldm_rawdata.projections.row import row_of, row_of_refusal
from medldm_rawdata.projections.stated import Stated, stated_file
from medldm_rawdata.projections.views import Array, Views

_DETECTOR = "measurement/instrument/detector"
_PIXEL_SIZES = (f"{_DETECTOR}/actual_pixel_size_x", f"{_DETECTOR}/pixel_size_x")
_IN_MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "microns": 1e-3, "nm": 1e-6}
# Rows that the centre of rotation is looked for in.
_SAMPLED_ROWS = 4
_HEAD = 1 << 16
# Of the limit of a signed type: counts as far below zero are no noise about a dark field.
_OVERFLOWN = 0.25


@dataclass(frozen=True)
class DataExchangeReader:
    """Reads ``exchange/data``, ``data_white``, ``data_dark`` and ``theta``; one file holds one scan."""

    def accepts(self, path: Path) -> bool:
        """An HDF5 file with a group ``exchange``; of a damaged one the beginning tells."""
        try:
            if not path.is_file():
                return False
            with path.open("rb") as file:
                head = file.read(_HEAD)
        except OSError:
            return False
        if not head.startswith(SIGNATURE):
            return False
        try:
            with opened(path) as tree:
                return "exchange" in list(tree)  # by name: a link is not followed, and refused when it is read
        except InputRefused:
            return b"exchange" in head

    def files(self, path: Path) -> list[Path]:
        """With what is stated beside it."""
        return [path, stated_file(path)]

    def inspect(self, path: Path) -> list[SeriesRow]:
        """One row; a few rows of the detector are read, to find the centre of rotation."""
        try:
            found = _read(path, ReadRequest(max_bytes=4 * 2**30), rows=_SAMPLED_ROWS)
        except InputRefused as refusal:
            return [row_of_refusal(path, "data-exchange", refusal)]
        return [row_of(path, "data-exchange", found)]

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        """The one scan.

        Raises:
            InputRefused: E-PRJ-01 to E-PRJ-12, E-PRJ-16 and E-PRJ-26, see the plugin's README.
        """
        request.require_only_scan(path)
        return [_read(path, request).acquisition(path, "data-exchange")]


def _read(path: Path, request: ReadRequest, rows: int | None = None) -> Projections:
    """The scan; of only ``rows`` detector rows, for :meth:`inspect`, on the grid of all of them."""
    with opened(path) as file:
        data, white, dark, theta = (
            data_set(file, f"exchange/{name}", path) for name in ("data", "data_white", "data_dark", "theta")
        )
        if data is None or white is None or theta is None:
            absent = next(
                name for name, node in (("data", data), ("data_white", white), ("theta", theta)) if node is None
            )
            raise _missing(path, f"exchange/{absent}")
        _check_shapes(path, data, white, dark)
        n_views, n_rows, bins = map(int, data.shape)
        read = min(rows or n_rows, n_rows)
        needed = n_views * read * bins * (data.dtype.itemsize + 44) + 16 * bins * read * len(white)
        require_memory(needed, request.max_bytes, path.name)
        stated = Stated.beside(path)
        require_memory(8 * int(theta.size), request.max_bytes, path.name)
        views = Views.of(_degrees(theta, path), n_views, path.name)
        sampled = np.unique(np.linspace(0, n_rows - 1, min(_SAMPLED_ROWS, n_rows)).round().astype(int))
        part = slice(None) if read == n_rows else sampled
        counts, flats = numbers(data, np.s_[:, part]), numbers(white, np.s_[:, part])
        darks = None if dark is None else numbers(dark, np.s_[:, part])
        pitch, problems = _pitch(file, path, stated)
    for name, values in (("data", counts), ("data_white", flats), ("data_dark", darks)):
        if values is not None:
            require_finite(values, f"exchange/{name}", path.name)
            _require_no_overflow(values, f"exchange/{name}", path.name)
    field = FlatField.of(flats, darks, path.name, stated.photons)
    integrals, photons, more = field.line_integrals(counts, path.name)
    seen = integrals[sampled] if read == n_rows else integrals
    offset, facts, warning = _offset(seen.astype(np.float64), views, pitch, stated)
    facts |= {"pitch_mm": pitch, "photons": field.photons, "flats": len(flats)}
    facts["darks"] = 0 if darks is None else len(darks)
    detector = Detector("parallel", bins, pitch, offset)
    row_pitch = stated.row_pitch_mm or pitch
    grid = stated.image.grid(n_rows, row_pitch) if stated.image else detector.grid(n_rows, row_pitch)
    return Projections(
        values=integrals,
        views=views,
        detector=detector,
        grid=grid,
        photons=field.photons,
        electronic_std=field.electronic_std,
        counts=photons,
        mu_water=stated.mu_water_per_mm,
        problems=(*problems, *field.problems, *more, *warning),
        facts=facts,
    )


def _missing(path: Path, name: str) -> InputRefused:
    return InputRefused(
        "E-PRJ-03",
        f"{path.name} has no data set {name!r}.",
        why="Counts become line integrals only with the open beam, and an image only with the angles.",
        fix="Add it; Data Exchange names data, data_white, data_dark and theta.",
    )


def _check_shapes(path: Path, data: Any, white: Any, dark: Any | None) -> None:
    shapes = {"data": data.shape, "data_white": white.shape} | ({} if dark is None else {"data_dark": dark.shape})
    same = len({shape[1:] for shape in shapes.values()}) == 1
    if not same or any(len(shape) != 3 or 0 in shape for shape in shapes.values()):
        raise InputRefused(
            "E-PRJ-04",
            f"The arrays of {path.name} do not fit each other: {shapes}.",
            why="Data, flats and darks are (view, row, bin) of one detector.",
            fix="Check how the file was written.",
        )


def _require_no_overflow(counts: NDArray[Any], what: str, file: str) -> None:
    """Refuse counts that went beyond a signed type, which are far below zero then, under E-PRJ-04."""
    if counts.dtype.kind != "i" or (least := int(counts.min())) >= -_OVERFLOWN * np.iinfo(counts.dtype).max:
        return
    raise InputRefused(
        "E-PRJ-04",
        f"{what} of {file} is of the signed type {counts.dtype} and holds counts down to {least}.",
        why=f"Counts beyond its limit of {np.iinfo(counts.dtype).max} come out negative: the detector had more.",
        fix=f"Store the detector's counts in an unsigned type, such as u{counts.dtype}, without changing their bits.",
    )


def _degrees(theta: Any, path: Path) -> Array:
    unit = words(theta, "units").lower()
    if not unit.startswith(("deg", "rad", "°")):
        raise InputRefused(
            "E-PRJ-18",
            f"The angles of {path.name} have the unit {unit!r}.",
            why="Radians and degrees cannot be told apart by looking at them.",
            fix="Set the attribute 'units' of exchange/theta to 'degrees' or 'radians'.",
        )
    values = numbers(theta).astype(np.float64)
    return np.asarray(np.rad2deg(values)) if unit.startswith("rad") else values


def _pitch(file: Any, path: Path, stated: Stated) -> tuple[float, tuple[Problem, ...]]:
    """Distance of the bins in mm: as stated beside, as in the file, or one with a warning."""
    if stated.pitch_mm is not None:
        return stated.pitch_mm, ()
    for name in _PIXEL_SIZES:
        node = data_set(file, name, path)
        if node is not None and node.size == 1:
            value, unit = float(numbers(node).ravel()[0]), words(node, "units").lower()
            if unit in _IN_MM and np.isfinite(value) and value > 0:
                return value * _IN_MM[unit], ()
            raise InputRefused(
                "E-PRJ-18",
                f"The pixel size of {path.name} is {value:g} in the unit {unit!r}.",
                why="Without a length the image has no scale.",
                fix=f"Correct {name} and its attribute 'units', or state pitch_mm in {path.stem}.medldm.json.",
            )
    sentence = "The file states no pixel size; 1 mm per bin is assumed, and attenuation is per bin."
    remedy = f'State it in {path.stem}.medldm.json beside the file: {{"pitch_mm": 0.0015}}.'
    return 1.0, (Problem("E-PRJ-13", "warning", sentence, remedy),)


def _offset(
    integrals: Array, views: Views, pitch: float, stated: Stated
) -> tuple[float, dict[str, Any], tuple[Problem, ...]]:
    """Offset of the detector in mm, facts on it for the history, and a warning where it is only assumed."""
    middle = (integrals.shape[-1] - 1) / 2
    if stated.offset_mm is not None:
        return stated.offset_mm, {"centre_bin": middle - stated.offset_mm / pitch, "centre_from": "stated"}, ()
    centre = find_centre(integrals, views.degrees)
    if centre is None:
        sentence = "The centre of rotation cannot be found: no views half a turn apart that can be told from others."
        remedy = "The middle of the detector is taken; state offset_mm in NAME.medldm.json if that is wrong."
        warning = Problem("E-PRJ-14", "warning", sentence, remedy)
        return 0.0, {"centre_bin": middle, "centre_from": "assumed"}, (warning,)
    return *centre.offset(integrals.shape[-1], pitch), ()
