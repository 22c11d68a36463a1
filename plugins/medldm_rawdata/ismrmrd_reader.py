"""ISMRMRD (MRD) files: k-space line by line in HDF5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.data import Acquisition, Grid, ReadRequest, SeriesRow, Volume
from medldm.errors import InputRefused, Problem
from medldm_rawdata import hdf5_file
from medldm_rawdata.ismrmrd_calibration import calibration_of
from medldm_rawdata.ismrmrd_groups import CUSTOMARY, group_names, left_out
from medldm_rawdata.ismrmrd_header import ScanHeader
from medldm_rawdata.ismrmrd_lines import Lines, read_lines
from medldm_rawdata.ismrmrd_shots import by_trajectory, sort_shots
from medldm_rawdata.ismrmrd_sorting import Sorted, sort_lines
from medldm_rawdata.ismrmrd_trajectory import STATED, Places, places_of, plane_of_image, recognised
from medldm_rawdata.kspace_grid import NOT_STATED, nominal_grid, stack_grid, stack_order
from medldm_rawdata.kspace_noise import NoiseScan
from medldm_rawdata.kspace_partitions import central_slices, slices_or_volume
from medldm_rawdata.kspace_scan import (
    KSpaceScan,
    Origin,
    RefusedScan,
    image_shape,
    require_finite,
    rows_of,
    scan_of,
    selected,
)
from medldm_rawdata.kspace_shots import shots_of
from medldm_rawdata.kspace_transform import without_oversampling

FORMAT = "ismrmrd"
# Counters that tell images of one file apart; volumes are slabs, each an image of its own.
_CASES = ("contrast", "phase", "repetition", "set")
_SLAB = "slice"


@dataclass(frozen=True)
class IsmrmrdReader:
    """Reads HDF5 files with a group of ``xml`` and ``data``: slices, Cartesian or along trajectories, and volumes."""

    def accepts(self, path: Path) -> bool:
        """By the names of its two datasets.

        A file that will not open is taken too, and one whose group is a link or lacks a dataset, so that reading says
        what is wrong. Other HDF5 files are left to other readers.
        """
        if not hdf5_file.is_hdf5(path):
            return False
        names = hdf5_file.names_in(path)
        if names is None or CUSTOMARY in names or (names and not any(names.values())):
            return True
        try:
            with hdf5_file.opened(path) as file:
                return bool(group_names(file))
        except InputRefused:
            return True

    def inspect(self, path: Path) -> list[SeriesRow]:
        """One row for each group, contrast, phase, repetition and set, and for each slab of volumes."""
        return rows_of(path, FORMAT, lambda: _scans(path, ReadRequest().max_bytes))

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        """The measurements asked for.

        Raises:
            InputRefused: E-KSP-01 to E-KSP-18, see the plugin's README.
        """
        request.require_only_volume(path)
        return [scan.acquisition for scan in _scans(path, request.max_bytes, request.series)]


@dataclass(frozen=True, eq=False)
class _Measurement:
    """One group of a file, its samples not yet read.

    Attributes:
        lines: of all its images.
        header: of its first encoding.
        noise: its noise scan.
        places: of its lines, where they were measured along a trajectory.
        cases: name of each image, and its lines.
    """

    lines: Lines
    header: ScanHeader
    noise: NoiseScan | None
    places: Places | None
    cases: dict[str, NDArray[np.intp]]

    @classmethod
    def of(cls, group: Any, path: Path, max_bytes: int) -> _Measurement:
        header = ScanHeader.parse(hdf5_file.text_of(hdf5_file.member(group, "xml", path), path), path.name)
        lines = read_lines(hdf5_file.member(group, "data", path), header, max_bytes, path)
        _require_understood(header, lines)
        noise = _noise(lines, header)
        cases, places = _cases(lines, (*_CASES, _SLAB) if header.is_volume else _CASES), None
        if header.trajectory in STATED:
            places = places_of(lines, max_bytes)
            cases, notes = by_trajectory(lines, places, cases)
            lines = replace(lines, problems=(*lines.problems, *places.problems, *notes))
        return cls(lines, header, noise, places, cases)

    def scan(self, image: str, case: str, max_bytes: int) -> KSpaceScan:
        """One of its images, under the name that the file as a whole has for it."""
        which = self.cases[image]
        if self.places is None:
            return _scan(self.lines, which, self.header, self.noise, case, max_bytes)
        return _shot_scan(self.lines, which, self.places, self.header, self.noise, case, max_bytes)


def _scans(path: Path, max_bytes: int, series: str | None = None) -> Iterator[KSpaceScan | RefusedScan]:
    with hdf5_file.opened(path) as file:
        names = group_names(file)
        if not names:
            for top in list(file)[:100]:
                hdf5_file.member(file, top, path)
            raise hdf5_file.unlike(path, file, "ISMRMRD", "a group with xml and data")
        if len(names) == 1:
            measurement = _Measurement.of(file[names[0]], path, max_bytes)
            cases = list(measurement.cases)
            for i in selected(cases, series, path):
                yield measurement.scan(cases[i], cases[i], max_bytes)
        else:
            yield from _of_several(file, names, path, max_bytes, series)


def _of_several(
    file: Any, names: list[str], path: Path, max_bytes: int, series: str | None
) -> Iterator[KSpaceScan | RefusedScan]:
    """The images of several groups, each named after its group; one that is refused hides no other."""
    found: dict[str, tuple[_Measurement, str] | RefusedScan] = {}
    without: dict[str, InputRefused] = {}
    for name in names:
        try:
            measurement = _Measurement.of(file[name], path, max_bytes)
        except InputRefused as refusal:
            if refusal.code == "E-KSP-18":
                without[name] = refusal
            else:
                found[name] = RefusedScan(FORMAT, path, name, refusal)
        else:
            found |= {f"{name} {image}".strip(): (measurement, image) for image in measurement.cases}
    if not found:
        raise next(iter(without.values()))
    cases = list(found)
    for i in selected(cases, series, path):
        entry = found[cases[i]]
        if isinstance(entry, RefusedScan):
            yield entry
            continue
        measurement, image = entry
        lines = replace(measurement.lines, problems=(*measurement.lines.problems, *left_out(list(without))))
        try:
            yield replace(measurement, lines=lines).scan(image, cases[i], max_bytes)
        except InputRefused as refusal:
            yield RefusedScan(FORMAT, path, cases[i], refusal)


def _cases(lines: Lines, names: tuple[str, ...]) -> dict[str, NDArray[np.intp]]:
    """Lines of each image, by the counters that tell them apart."""
    counters = np.stack([lines.index(name)[lines.image] for name in names], axis=1)
    telling = [len(np.unique(column)) > 1 for column in counters.T]
    cases = {}
    for values in np.unique(counters, axis=0):
        told = [f"{n} {v}" for n, v, tells in zip(names, values, telling, strict=True) if tells]
        cases[" ".join(told)] = lines.image[(counters == values).all(axis=1)]
    return cases


def _scan(
    lines: Lines, which: Any, header: ScanHeader, noise: NoiseScan | None, case: str, max_bytes: int
) -> KSpaceScan:
    problems = list(lines.problems)
    slices = [int(s) for s in np.unique(lines.index("slice")[which])]
    heads = lines.heads[which]
    ordered, stated = _ordered(lines, which, slices)
    calibration = calibration_of(lines, which, ordered, header, _CASES, max_bytes)
    problems += calibration.problems
    found = sort_lines(lines, which, ordered, header, max_bytes)
    require_finite(found.kspace, lines.path.name)
    kspace, block, kept = _without_oversampling(found, calibration.block, header)
    problems += [*kept, *_doubts(heads, noise, stated)]
    grid = _grid(lines, found.first_lines, image_shape(kspace), header.spacing, stated, slab=header.is_volume)
    return scan_of(
        kspace,
        grid,
        Origin(FORMAT, lines.path, case, tuple(problems)),
        noise=None if noise is None else _for_image(noise, heads),
        averages=found.averages,
        calibration=block,
    )


def _shot_scan(
    lines: Lines, which: Any, places: Places, header: ScanHeader, noise: NoiseScan | None, case: str, max_bytes: int
) -> KSpaceScan:
    """Of lines along a trajectory."""
    name, heads = lines.path.name, lines.heads[which]
    (ny, nx), (dy, dx) = plane_of_image(header, name)
    ordered, stated = _ordered(lines, which, [int(s) for s in np.unique(lines.index("slice")[which])])
    found = sort_shots(lines, places, which, ordered, max_bytes)
    require_finite(found.kspace, name)
    problems = (*lines.problems, *_doubts(heads, noise, stated))
    return shots_of(
        found.kspace,
        found.trajectory,
        recognised(header, name),
        _grid(lines, found.first_lines, (len(ordered), ny, nx), (header.spacing[0], dy, dx), stated),
        Origin(FORMAT, lines.path, case, problems),
        noise=None if noise is None else _for_image(noise, heads),
        averages=found.averages,
    )


def _doubts(heads: Any, noise: NoiseScan | None, stated: bool) -> list[Problem]:
    """What lines do not say: their dwell time, their place."""
    problems = []
    if noise is not None and not (heads["sample_time_us"] > 0).all():
        problems.append(
            Problem("E-KSP-26", "warning", "The dwell time is not stated; that of the noise scan is taken to be equal.")
        )
    if not stated:
        problems.append(NOT_STATED)
    return problems


def _ordered(lines: Lines, which: Any, slices: list[int]) -> tuple[list[int], bool]:
    """Slices in the order of their positions, and whether positions and directions are stated at all."""
    heads, counters = lines.heads[which], lines.index("slice")[which]
    if not any(np.any(heads[name]) for name in ("read_dir", "phase_dir", "slice_dir")):
        return slices, False
    positions = np.array([heads["position"][counters == s][0] for s in slices], dtype=np.float64)
    directions = np.stack([heads[name] for name in ("read_dir", "phase_dir", "slice_dir")], axis=1)
    finite = np.isfinite(directions).all() and np.isfinite(heads["position"]).all()
    with np.errstate(invalid="ignore", over="ignore"):
        drift = max(np.abs(heads["position"][counters == s] - p).max() for s, p in zip(slices, positions, strict=True))
        turned = np.abs(directions - directions[0]).max()
    if not finite or drift > 0.1 or turned > 1e-3:
        raise InputRefused(
            "E-KSP-15",
            f"The slices of {lines.path.name} move during the measurement, are turned against one another, "
            "or have no finite place.",
            why="A volume has evenly spaced parallel slices.",
            fix="Export each stack to a file of its own.",
        )
    return [slices[i] for i in stack_order(positions, heads["slice_dir"][0].astype(np.float64))], True


def _without_oversampling(
    found: Sorted, block: NDArray[np.complex64] | None, header: ScanHeader
) -> tuple[NDArray[np.complex64], NDArray[np.complex64] | None, list[Problem]]:
    """Slices or a volume, cropped along axes that are sampled in full, its calibration, and what was not cropped."""
    kspace, kept = found.kspace, []
    read, keep = header.encoded.matrix[0], header.read_pixels
    if keep < read and found.whole_readout:
        kspace = without_oversampling(kspace, -1, keep)
        block = None if block is None else without_oversampling(block, -1, keep)
    elif keep < read:
        fault = (
            f"Lines have no samples at one end (partial echo), so the oversampling of the readout, {read} for {keep} "
        )
        kept.append(Problem("E-KSP-25", "note", f"{fault}pixels, is kept.", "Crop the image."))
    if not header.is_volume:
        return kspace, block, kept
    kspace, _ = slices_or_volume(kspace)
    partitions, keep = header.encoded.matrix[2], header.slab_pixels
    if kspace.ndim == 4:
        first = partitions // 2 - keep // 2
        block = None if block is None else central_slices(block, partitions)[first : first + keep]
        return kspace[first : first + keep], block, kept
    block = None if block is None else block.transpose(1, 0, 2, 3)[None]
    if keep < partitions:
        fault = f"The partitions are undersampled, so the oversampling of the slab, {partitions} for {keep} slices, is "
        kept.append(Problem("E-KSP-25", "note", f"{fault}kept.", "Leave out slices at both ends of the image."))
    return kspace, block, kept


def _grid(
    lines: Lines,
    first_lines: list[int],
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    stated: bool,
    *,
    slab: bool = False,
) -> Grid:
    if not stated:
        return nominal_grid(size, spacing)
    heads = lines.heads[first_lines]
    z, y, x = (heads[name][0].astype(np.float64) for name in ("slice_dir", "phase_dir", "read_dir"))
    positions = heads["position"].astype(np.float64)
    if slab:
        # The position of a slab is its middle, voxel n // 2, also of what is left of it.
        positions = positions + (np.arange(size[0]) - size[0] // 2)[:, None] * spacing[0] * z
    return stack_grid(size, spacing, positions, (z, y, x), lines.path.name)


def _noise(lines: Lines, header: ScanHeader) -> NoiseScan | None:
    """The noise scan, its variance ratio still lacking the dwell time of the image.

    Noise power is proportional to bandwidth, so lines of other dwell times are brought to that of the first.
    """
    if not len(lines.noise):
        return None
    dwell = lines.heads["sample_time_us"].astype(np.float64)
    first = float(dwell[lines.noise[0]])
    ratio = np.where((dwell > 0) & (first > 0), dwell / (first or 1.0), 1.0)
    samples = np.concatenate([line * np.float32(ratio[i] ** 0.5) for i, line in lines.samples(lines.noise)], axis=1)
    return NoiseScan(samples, (first if first > 0 else 0.0) / header.noise_bandwidth)


def _for_image(noise: NoiseScan, heads: Any) -> NoiseScan:
    """Noise power is proportional to bandwidth, the inverse of the dwell time."""
    dwell = float(heads["sample_time_us"][0])
    known = dwell > 0 and noise.variance_ratio > 0
    return NoiseScan(noise.samples, noise.variance_ratio / dwell if known else 1.0)


def _require_understood(header: ScanHeader, lines: Lines) -> None:
    fault, partitions = "", np.unique(lines.index("kspace_encode_step_2")[lines.image])
    if header.trajectory not in {"cartesian", *STATED}:
        fault = f"is a {header.trajectory} measurement"
    elif header.trajectory != "cartesian" and (header.is_volume or partitions.max() > 0):
        fault = f"is a {header.trajectory} measurement of a volume"
    elif not header.is_volume and partitions.max() > 0:
        fault = f"counts {partitions.max() + 1} partitions in its lines, and one in its header"
    elif header.is_volume and len(partitions) == 1:
        fault = f"counts {header.encoded.matrix[2]} partitions in its header, and one in its lines"
    if fault:
        raise InputRefused(
            "E-KSP-07",
            f"{lines.path.name} {fault}.",
            why="Cartesian slices and volumes are understood, and slices along a trajectory that each line states.",
            fix="Grid it, or convert the scan again; describe an array of the result by a JSON file.",
        )
