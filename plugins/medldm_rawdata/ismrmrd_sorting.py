"""Lines of ISMRMRD, placed in k-space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata.ismrmrd_header import ScanHeader
from medldm_rawdata.ismrmrd_lines import REVERSE, Lines, flagged
from medldm_rawdata.kspace_scan import require_memory


@dataclass(frozen=True, eq=False)
class Sorted:
    """One image's k-space.

    Attributes:
        kspace: (z or kz, coil, ky, kx), the mean over the averages, zeros where nothing was measured.
        averages: lines that each is the mean of.
        whole_readout: whether every line has all its samples.
        first_lines: index of one line of each slice, in the order of z; one of a volume.
    """

    kspace: NDArray[np.complex64]
    averages: int
    whole_readout: bool
    first_lines: list[int]


def columns(head: Any, nx: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Samples of a line that count, and their places along kx; frequency zero goes to ``nx // 2``.

    A reversed line runs from high to low frequency; the one sample that then lies at +nx/2 is the same frequency of the
    grid as -nx/2.

    Raises:
        ValueError: with what does not fit.
    """
    n, centre = int(head["number_of_samples"]), int(head["center_sample"])
    back = bool(flagged(head[None], REVERSE)[0])
    sample = np.arange(n)
    place = nx // 2 + (centre - sample if back else sample - centre)
    if back and nx % 2 == 0:
        place[place == nx] = 0
    if n < 1 or place.min() < 0 or place.max() >= nx:
        raise ValueError(f"{n} samples about sample {centre} do not fit a readout of {nx}")
    if 0 not in place and nx - 1 not in place:
        raise ValueError(f"{n} samples reach neither end of a readout of {nx}, so their step is not known")
    counts = slice(int(head["discard_pre"]), n - int(head["discard_post"]))
    if not len(sample[counts]):
        raise ValueError("all samples are marked to be discarded")
    return sample[counts], place[counts]


def sort_lines(lines: Lines, which: NDArray[np.intp], slices: list[int], header: ScanHeader, max_bytes: int) -> Sorted:
    """Place lines by their counters, whatever their order in the file.

    Args:
        lines: of the file.
        which: those of one image.
        slices: counters of its slices, in the order of z; of a volume there is one, whose planes are its partitions.
        header: of the file.
        max_bytes: of memory.

    Raises:
        InputRefused: E-KSP-10 memory, E-KSP-13 lines that do not fit or come twice, E-KSP-14 some lines averaged more
            often than others.
    """
    name = lines.path.name
    nx, ny, nz = header.encoded.matrix
    planes = nz if header.is_volume else len(slices)
    coils = int(lines.heads["active_channels"][which[0]])
    require_memory((planes, coils, ny, nx), max_bytes, name)
    row_of = _steps(lines, which, "kspace_encode_step_1", header.centre_line, ny)
    if header.is_volume:
        plane_of = _steps(lines, which, "kspace_encode_step_2", header.centre_partition, nz)
    else:
        z_of = {counter: z for z, counter in enumerate(slices)}
        plane_of = np.array([z_of.get(int(counter), -1) for counter in lines.index("slice")])
    keys = np.stack([plane_of[which], row_of[which], lines.index("average")[which]])
    if len(np.unique(keys, axis=1).T) != len(which):
        raise _unfit(name, "a line of one slice, partition and average comes twice")
    kspace = np.zeros((planes, coils, ny, nx), dtype=np.complex64)
    counts = np.zeros((planes, ny, nx), dtype=np.uint16)
    for i, line in lines.samples(which):
        try:
            samples, places = columns(lines.heads[i], nx)
        except ValueError as error:
            raise _unfit(name, str(error)) from error
        kspace[plane_of[i], :, row_of[i], places] += line[:, samples].T
        counts[plane_of[i], row_of[i], places] += 1
    averages = np.unique(counts[counts > 0])
    if len(averages) != 1:
        raise InputRefused(
            "E-KSP-14",
            f"Samples of {name} were measured {averages.min()} to {averages.max()} times.",
            why="Their mean would have more noise in some lines than in others.",
            fix="Export complete averages only.",
        )
    kspace /= averages[0]
    whole = bool((counts[counts.any(axis=-1)] > 0).all())
    first = [int(which[lines.index("slice")[which] == counter][0]) for counter in slices]
    return Sorted(kspace, int(averages[0]), whole, first)


def _steps(
    lines: Lines, which: NDArray[np.intp], counter: str, centre: int | None, n: int
) -> NDArray[np.signedinteger[Any]]:
    """Places of all lines along a phase encoding of ``n`` steps, frequency zero at ``n // 2``."""
    steps = lines.index(counter).astype(int) - (n // 2 if centre is None else centre) + n // 2
    least, most = int(steps[which].min()), int(steps[which].max())
    if least < 0 or most >= n:
        fault = f"{counter} is up to {max(-least, most - n + 1)} steps outside the grid of {n}"
        raise _unfit(lines.path.name, fault)
    return steps


def _unfit(name: str, fault: str) -> InputRefused:
    return InputRefused(
        "E-KSP-13",
        f"The lines of {name} do not fit its header: {fault}.",
        why="A line at a wrong place in k-space spreads over the whole image.",
        fix="Convert the scan again; the encoded matrix, encodingLimits and center_sample must agree with the lines.",
    )
