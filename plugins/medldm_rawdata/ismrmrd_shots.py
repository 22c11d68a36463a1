"""Lines of ISMRMRD along a trajectory, made into shots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem
from medldm_rawdata.ismrmrd_lines import Lines
from medldm_rawdata.ismrmrd_trajectory import Places
from medldm_rawdata.kspace_scan import require_memory

# Places are the same where they differ by less than this share of the largest.
_SAME = 1e-4


@dataclass(frozen=True, eq=False)
class SortedShots:
    """One image's k-space.

    Attributes:
        kspace: (z, coil, shot, sample), the mean over the averages, zeros where samples are to be discarded.
        trajectory: (shot, sample, 2), ky and kx in the file's unit.
        averages: lines that each shot is the mean of.
        first_lines: index of one line of each slice, in the order of z.
    """

    kspace: NDArray[np.complex64]
    trajectory: NDArray[np.float64]
    averages: int
    first_lines: list[int]


def by_trajectory(
    lines: Lines, places: Places, cases: dict[str, NDArray[np.intp]]
) -> tuple[dict[str, NDArray[np.intp]], tuple[Problem, ...]]:
    """Lines of each image, slice by slice where the slices were measured along different trajectories."""
    found: dict[str, NDArray[np.intp]] = {}
    for case, which in cases.items():
        counters = lines.index("slice")[which]
        slices = [which[counters == s] for s in np.unique(counters)]
        shots = [_shots(lines, places, own) for own in slices]
        first = places.stack(shots[0][0])
        alike = all(own.shape == shots[0].shape and _equal(places.stack(own[0]), first) for own in shots[1:])
        names = [case] if alike else [f"{case} slice {s}".strip() for s in np.unique(counters)]
        found.update(zip(names, [which] if alike else slices, strict=True))
    if len(found) == len(cases):
        return found, ()
    told = "Slices were measured along different trajectories, so each is a scan of its own."
    return found, (Problem("E-KSP-44", "note", told, "Choose one with --series."),)


def sort_shots(lines: Lines, places: Places, which: NDArray[np.intp], slices: list[int], max_bytes: int) -> SortedShots:
    """Put lines in the order of their counters; the trajectory says where each belongs.

    Args:
        lines: of the file.
        places: of its lines.
        which: lines of one image, whose slices share a trajectory.
        slices: counters of its slices, in the order of z.
        max_bytes: of memory.

    Raises:
        InputRefused: E-KSP-10 memory, E-KSP-13 a line that comes twice.
    """
    counters = lines.index("slice")[which]
    shots = [_shots(lines, places, which[counters == s]) for s in slices]
    averages, count = shots[0].shape
    coils, samples = (int(lines.heads[entry][which[0]]) for entry in ("active_channels", "number_of_samples"))
    require_memory((len(slices), coils, count, samples), max_bytes, lines.path.name)
    trajectory = places.stack(shots[0][0])
    kspace = np.zeros((len(slices), coils, count, samples), dtype=np.complex64)
    at = {int(i): (z, shot) for z, own in enumerate(shots) for row in own for shot, i in enumerate(row)}
    for i, line in lines.samples(which):
        z, shot = at[i]
        pre, post = (int(lines.heads[end][i]) for end in ("discard_pre", "discard_post"))
        counts = slice(pre, max(pre, samples - post))
        kspace[z, :, shot, counts] += line[:, counts]
    kspace /= averages
    return SortedShots(kspace, trajectory, averages, [int(own[0, 0]) for own in shots])


def _shots(lines: Lines, places: Places, which: NDArray[np.intp]) -> NDArray[np.intp]:
    """Lines (average, shot) of one slice.

    Averages along the same trajectory are measured repeatedly; where they go on along another one, as golden angles
    may, each line is a shot of its own.

    Raises:
        InputRefused: E-KSP-13 when two lines have the same counters and the same place.
    """
    step, average = (lines.index(name)[which] for name in ("kspace_encode_step_1", "average"))
    which = which[np.lexsort((which, step, average))]
    step, average = (lines.index(name)[which] for name in ("kspace_encode_step_1", "average"))
    twice = np.flatnonzero((np.diff(step.astype(int)) == 0) & (np.diff(average.astype(int)) == 0))
    if any(_equal(places.of[int(which[i])], places.of[int(which[i + 1])]) for i in twice):
        raise InputRefused(
            "E-KSP-13",
            f"A line of one slice and average of {lines.path.name} comes twice.",
            why="It is not known which is right, or whether they are to be averaged.",
            fix="Convert the scan again; averages have counters of their own.",
        )
    parts = [which[average == a] for a in np.unique(average)]
    first = places.stack(parts[0])
    if all(len(part) == len(parts[0]) and _equal(places.stack(part), first) for part in parts[1:]):
        return np.stack(parts)
    return which[None]


def _equal(a: NDArray[np.floating], b: NDArray[np.floating]) -> bool:
    if a.shape != b.shape:
        return False
    largest = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    return bool(np.allclose(a, b, rtol=0, atol=_SAME * largest, equal_nan=True))
