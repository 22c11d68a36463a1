"""DICOM-CT-PD, the format of clinical projections (Chen et al. 2015, doi 10.1118/1.4935406), as acquisitions.

What stays in its plane becomes a fan-beam measurement. Everything else is read as it was measured, whole detectors
along their trajectory; nothing is rebinned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from medldm.data import Acquisition, ReadRequest, SeriesRow, Volume
from medldm.errors import InputRefused
from medldm_rawdata.projections.ct_pd_detector import detector_of, fan_of, grid_of, trajectory_of
from medldm_rawdata.projections.ct_pd_header import is_projection
from medldm_rawdata.projections.ct_pd_scan import ProjectionScan, files_under, scans_under
from medldm_rawdata.projections.row import row_of, row_of_refusal
from medldm_rawdata.projections.stated import Stated, stated_file
from medldm_rawdata.projections.views import Views

FORMAT = "ct-pd"
_INSPECTED = 4 * 2**30
_PROBED = 50
Part = Literal["detector", "plane"]


@dataclass(frozen=True, eq=False)
class _Case:
    scan: ProjectionScan
    part: Part

    @property
    def words(self) -> str:
        """The geometry in words, from the headers alone."""
        scan, first = self.scan, self.scan.first
        views, rows, columns = scan.shape
        angles, z = np.unwrap(scan.of("angle")), scan.of("z")
        turns = float(np.ptp(angles)) / (2 * np.pi) * views / max(1, views - 1)
        physics = trajectory_of(scan, Stated()).physics
        parts = [
            f"{physics}: {views} views over {turns:.3g} turns",
            f"{rows} rows of {first['row_pitch']:.4g} mm x {columns} columns of {first['pitch']:.4g} mm on a "
            f"{'cylinder' if scan.curved else 'plane'}",
            f"source to axis {first['radius']:g} mm, to detector {first['source_to_detector']:g} mm",
        ]
        if scan.moves:
            parts.append(f"z {z.min():.4g} to {z.max():.4g} mm, {np.ptp(z) / turns:.4g} mm per turn")
        if scan.flies:
            parts.append(f"flying focal spot {first.words.get('focal_spot_mode', '')}")
        return ", ".join((*parts, f"needs the physics {physics}"))


@dataclass(frozen=True)
class CtPdReader:
    """Reads a folder of DICOM files with one projection each."""

    def accepts(self, path: Path) -> bool:
        """A folder whose first DICOM files hold projections."""
        try:
            return any(is_projection(file) for file in islice(files_under(path), _PROBED))
        except (InputRefused, OSError):
            return False

    def files(self, path: Path) -> list[Path]:
        """All files that are looked at, and what is stated beside their folder."""
        try:
            return [*files_under(path), stated_file(path)]
        except InputRefused:
            return []

    def inspect(self, path: Path) -> list[SeriesRow]:
        """A row for each way to read each scan: its whole detector, and the plane of the source where there is one."""
        try:
            cases, stated = _cases(path), Stated.beside(path)
        except InputRefused as refusal:
            return [row_of_refusal(path, FORMAT, refusal)]
        return [_row(index, case, path, stated) for index, case in enumerate(cases, 1)]

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        """The scan asked for.

        Raises:
            InputRefused: E-PRJ-01 to E-PRJ-08, E-PRJ-16, E-PRJ-17, E-PRJ-20, E-PRJ-26, and E-PRJ-24 when there are
                several scans and none, or another, is named; see the plugin's README.
        """
        request.require_only_volume(path)
        cases, stated = _cases(path), Stated.beside(path)
        names = [f"#{index}" for index in range(1, len(cases) + 1)]
        if (request.series is None and len(cases) > 1) or request.series not in (None, *names):
            listed = "; ".join(f"{name} {_label(case)}" for name, case in zip(names, cases, strict=True))
            raise InputRefused(
                "E-PRJ-24",
                f"{path.name} can be read as {listed}.",
                why="One is reconstructed at a time, and which is not guessed.",
                fix="Choose with --series '#1'; medldm inspect explains them.",
            )
        case = cases[0 if request.series is None else names.index(request.series)]
        if case.part == "plane":
            return [fan_of(case.scan, path, stated, request.max_bytes).acquisition(path, FORMAT)]
        return [detector_of(case.scan, path, stated, request.max_bytes)]


def _cases(path: Path) -> list[_Case]:
    cases = []
    for scan in scans_under(path):
        if not scan.is_planar or scan.shape[1] > 1:
            cases.append(_Case(scan, "detector"))
        if scan.is_planar:
            cases.append(_Case(scan, "plane"))
    return cases


def _label(case: _Case) -> str:
    return "a fan in the plane of the source" if case.part == "plane" else case.words


def _row(index: int, case: _Case, path: Path, stated: Stated) -> SeriesRow:
    if case.part == "plane":
        try:
            fan = fan_of(case.scan, path, stated, _INSPECTED)
            row = row_of(path, FORMAT, fan)
            agreed = fan.facts.get("opposite_rays_rms")
            told = "" if agreed is None else f", rays measured twice agree to {agreed:.2g}"
            row = replace(row, description=row.description + told)
        except InputRefused as refusal:
            row = row_of_refusal(path, FORMAT, refusal)
        shape, spacing, orientation = row.shape, row.spacing, row.orientation
        description, problems = row.description, row.problems
    else:
        grid = grid_of(trajectory_of(case.scan, stated), case.scan, stated)
        shape, spacing, orientation = grid.shape, grid.spacing, grid.orientation
        description, problems = case.words, case.scan.problems
        try:
            Views.of(np.rad2deg(np.unwrap(case.scan.of("angle"))), len(case.scan.headers), path.name)
        except InputRefused as refusal:
            problems = (*problems, *row_of_refusal(path, FORMAT, refusal).problems)
    files = len(case.scan.headers)
    return SeriesRow(index, path.name, FORMAT, "CT", description, files, shape, spacing, orientation, problems)
