"""One measured k-space, checked, as every reader of k-space hands it over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medldm.data import Acquisition, AffineMap, Grid, History, SeriesRow, Source
from medldm.errors import InputRefused, Problem
from medldm_rawdata.kspace_grid import NOT_STATED
from medldm_rawdata.kspace_noise import NoiseScan, whitened, with_known_noise
from medldm_rawdata.kspace_sampling import full_centre, sampled_points, whole_readouts

# Of slices and of volumes, by the number of axes that a reader hands over.
_PHYSICS = {4: ("mri-cartesian", ("z", "coil", "ky", "kx")), 5: ("mri-cartesian-3d", ("coil", "kz", "ky", "kx"))}
# Peak of reading over the size of k-space in complex64; 2.2 (fastMRI) to 4.5 (ISMRMRD, 8 coils) were measured, and up
# to 5.8 of one coil, whose masks and counts are as many numbers as its samples.
_COPIES = 6
_WITHOUT_CENTRE = Problem(
    "E-KSP-30",
    "warning",
    "Frequency zero was not measured where it is stated to be, so coil maps cannot be estimated from this k-space.",
    "Check where it is: centre in the JSON of an array, center in encodingLimits of ISMRMRD.",
)


@dataclass(frozen=True)
class Origin:
    """Where a k-space came from.

    Attributes:
        format: name of the reader.
        path: the file.
        case: which scan of the file, empty when there is one only.
        problems: what the reader noticed.
    """

    format: str
    path: Path
    case: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, eq=False)
class KSpaceScan:
    """A measurement and what was noticed about it."""

    acquisition: Acquisition
    problems: tuple[Problem, ...]
    case: str = ""

    def row(self, index: int) -> SeriesRow:
        """Its row in ``medldm inspect``."""
        acquisition, settings = self.acquisition, self.acquisition.settings
        noise = acquisition.noise_std
        told = "not known" if noise is None else f"{noise:.3g} ({settings['noise']})"
        sizes = ", ".join(f"{axis} {n}" for axis, n in zip(acquisition.axes, acquisition.data.shape, strict=True))
        description = (
            f"{self.case + '; ' if self.case else ''}{acquisition.physics}: {sizes}; "
            f"{self.sampling()}, noise {told}"
            f"{' SIMULATED' if acquisition.simulated else ''}"
        )
        grid = acquisition.grid
        source = acquisition.source
        name = "" if source is None else source.format
        return SeriesRow(
            index,
            acquisition.name,
            name,
            acquisition.modality,
            description,
            1,
            grid.shape,
            grid.spacing,
            grid.orientation,
            self.problems,
        )

    def sampling(self) -> str:
        """How much of k-space was measured, in words."""
        acquisition, settings = self.acquisition, self.acquisition.settings
        centre = " x ".join(map(str, settings["full_centre"]))
        masked = " x ".join(acquisition.axes[1:3] if "kz" in acquisition.axes else acquisition.axes[2:])
        apart = ""
        if "calibration" in acquisition.tensors:
            block = acquisition.tensor("calibration").shape
            lengths = [n for axis, n in zip(acquisition.axes, block, strict=True) if axis in ("kz", "ky", "kx")]
            apart = f", separate calibration {' x '.join(map(str, lengths))}"
        return f"acceleration {settings['acceleration']:.3g}, full centre {centre} ({masked}){apart}"


@dataclass(frozen=True, eq=False)
class RefusedScan:
    """A scan that cannot be read, among others of its file that can."""

    format: str
    path: Path
    case: str
    refusal: InputRefused

    @property
    def acquisition(self) -> Acquisition:
        """None: asking for it raises the refusal."""
        raise self.refusal

    def row(self, index: int) -> SeriesRow:
        """Its row in ``medldm inspect``, with the reason."""
        problem = Problem(self.refusal.code, "error", self.refusal.what, self.refusal.fix)
        name = case_name(self.path, self.case) if self.case else self.path.name
        return SeriesRow(index, name, self.format, "MR", "", 1, None, None, None, (problem,))


def image_shape(kspace: NDArray[np.complex64]) -> tuple[int, int, int]:
    """(z, y, x) of slices (z, coil, ky, kx), or of a volume (1, coil, kz, ky, kx)."""
    z, y, x = kspace.shape[-3:] if kspace.ndim == 5 else (kspace.shape[0], *kspace.shape[-2:])
    return z, y, x


def require_memory(shape: Sequence[int], max_bytes: int, name: str) -> None:
    """Refuse a k-space that would not fit, before anything is allocated.

    Raises:
        InputRefused: E-KSP-10.
    """
    needed = 8 * _COPIES
    for n in shape:
        needed *= int(n)
    if needed > max_bytes:
        raise InputRefused(
            "E-KSP-10",
            f"{name} needs {needed / 2**30:.3g} GiB of memory to read ({' x '.join(map(str, shape))} samples), "
            f"{max_bytes / 2**30:.3g} GiB are allowed.",
            why="It would end in the middle of the work.",
            fix="Allow more memory, or export fewer slices.",
        )


def require_finite(kspace: NDArray[np.complex64], name: str) -> None:
    """Refuse k-space (..., coil, ky, kx) with samples that are no numbers, before a transform spreads them.

    Raises:
        InputRefused: E-KSP-09.
    """
    bad = sum(int((~np.isfinite(plane)).any(axis=(0, -1)).sum()) for plane in kspace)
    if bad:
        raise InputRefused(
            "E-KSP-09",
            f"{bad} lines of k-space in {name} hold samples that are NaN or infinite.",
            why="The transform would spread them over the whole image.",
            fix="Measure again, or store zeros in all slices and coils where they are: such lines count as left out.",
        )


def scan_of(
    kspace: NDArray[np.complex64],
    grid: Grid,
    origin: Origin,
    *,
    mask: NDArray[np.bool_] | None = None,
    noise: NoiseScan | float | None = None,
    averages: int = 1,
    simulated: bool = False,
    calibration: NDArray[np.complex64] | None = None,
) -> KSpaceScan:
    """Check a k-space and give it the form that the physics expects.

    Args:
        kspace: slices (z, coil, ky, kx), or one volume (1, coil, kz, ky, kx) that is undersampled along kz; finite,
            frequency zero at ``n // 2``, zeros where nothing was measured.
        grid: of the image.
        origin: where it came from.
        mask: (ky, kx), of a volume (kz, ky, kx), if stated.
        noise: a noise scan, by which the coils are whitened; or the standard deviation per real component; or None,
            which estimates it.
        averages: measurements that each sample is the mean of; the noise scan had one.
        simulated: whether it was computed from an image.
        calibration: a fully sampled centre of k-space with the axes of ``kspace``, frequency zero at ``n // 2`` of its
            own lengths, for the coil maps alone.

    Raises:
        InputRefused: E-KSP-07, -11, -16, -18.
    """
    physics, axes = _PHYSICS[kspace.ndim]
    volume, name = "kz" in axes, origin.path.name
    alive, silent = speaking_coils(kspace)
    kspace, calibration = kspace[:, alive], None if calibration is None else calibration[:, alive]
    noise = noise.of_coils(alive) if isinstance(noise, NoiseScan) else noise
    problems = [*origin.problems, *silent]
    points, outside = sampled_points(kspace, mask, name)
    problems += outside
    # Of a volume whole readouts count: a zero within one was measured.
    readouts = whole_readouts(points, name) if volume else points
    points = np.broadcast_to(readouts[..., None], points.shape) if volume else points
    kspace = np.multiply(kspace, points, order="C")
    if isinstance(noise, NoiseScan) and calibration is not None:
        calibration = whitened(calibration, noise.whitener())
    kspace, std, told, doubts = with_known_noise(kspace, points, noise, averages)
    problems += doubts
    centre = full_centre(readouts)
    if 0 in centre and calibration is None:
        problems.append(_WITHOUT_CENTRE)
    settings = {
        "coils": int(kspace.shape[1]),
        "acceleration": round(points.size / int(points.sum()), 4),
        "full_centre": list(centre),
        "noise": told,
        "averages": averages,
    }
    tensors = {"mask": torch.from_numpy((points[..., :1] if volume else points).astype(np.float32))}
    if calibration is not None:
        tensors["calibration"] = torch.from_numpy(np.ascontiguousarray(calibration[0] if volume else calibration))
    data = torch.from_numpy(np.ascontiguousarray(kspace[0] if volume else kspace, dtype=np.complex64))
    acquisition = acquired(physics, data, axes, grid, origin, tensors, settings, problems, std, simulated=simulated)
    return KSpaceScan(acquisition, tuple(problems), origin.case)


def acquired(
    physics: str,
    data: Tensor,
    axes: Sequence[str],
    grid: Grid,
    origin: Origin,
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    problems: Sequence[Problem],
    std: float | None,
    *,
    simulated: bool,
) -> Acquisition:
    """A measurement of MR from a file: its settings and what was noticed stand in its history."""
    history = History().then("read", format=origin.format, **settings).noticed(problems)
    if any(problem.code == NOT_STATED.code for problem in problems):
        history = history.orientation_assumed()
    return Acquisition(
        physics=physics,
        data=data,
        axes=tuple(axes),
        grid=grid,
        quantity="arbitrary",
        modality="MR",
        output=AffineMap.identity("arbitrary"),
        tensors=tensors,
        settings=settings,
        noise_std=std,
        simulated=simulated,
        name=case_name(origin.path, origin.case),
        history=history,
        source=Source(origin.format, (origin.path,)),
    )


def speaking_coils(kspace: NDArray[np.complex64]) -> tuple[NDArray[np.bool_], list[Problem]]:
    """Which coils of k-space (z, coil, ...) measured anything, all where none did, and what to say of the others."""
    alive = np.any([plane.any(axis=tuple(range(1, plane.ndim))) for plane in kspace], axis=0)
    if alive.all() or not alive.any():
        return np.ones_like(alive), []
    told = f"Coils {[int(c) for c in np.flatnonzero(~alive)]} are zero throughout and are left out."
    return alive, [Problem("E-KSP-22", "warning", told, "Check the coils.")]


def rows_of(path: Path, format_: str, scans: Callable[[], Iterable[KSpaceScan | RefusedScan]]) -> list[SeriesRow]:
    """The rows of ``medldm inspect``; what cannot be read is a row with its reason.

    k-space says little about itself in headers: mask, calibration and noise are seen in the samples, so they are read.
    """
    try:
        return [scan.row(index) for index, scan in enumerate(scans(), 1)]
    except InputRefused as refusal:
        return [RefusedScan(format_, path, "", refusal).row(1)]


def selected(cases: Sequence[str], series: str | None, path: Path) -> list[int]:
    """Which of a file's scans are asked for by ``series``, ``"#2"`` or the name of the case: their indices.

    Raises:
        InputRefused: E-KSP-17 when there is none of that name.
    """
    found = [i for i, case in enumerate(cases) if series in (None, f"#{i + 1}", case, case_name(path, case))]
    if not found:
        listed = ", ".join(f"#{i} {case_name(path, case)}" for i, case in enumerate(cases[:8], 1))
        raise InputRefused(
            "E-KSP-17",
            f"{path.name} holds no scan {series!r}; it holds {listed}{', ...' if len(cases) > 8 else ''}.",
            fix="medldm inspect lists them.",
        )
    return found


def case_name(path: Path, case: str) -> str:
    """A short name for tables and files."""
    return path.name.partition(".")[0] + (f"-{case.replace(' ', '-')}" if case else "")
