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
        kspace: (z, coil, ky, kx), the mean over the averages, zeros where nothing was measured.
        averages: lines that each is the mean of.
        whole_readout: whether every line has all its samples.
        first_lines: index of one line of each slice, in the order of z.
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
        slices: counters of its slices, in the order of z.
        header: of the file.
        max_bytes: of memory.

    Raises:
        InputRefused: E-KSP-10 memory, E-KSP-13 lines that do not fit or come twice, E-KSP-14 some lines averaged more
            often than others.
    """
    name = lines.path.name
    nx, ny, _ = header.encoded.matrix
    coils = int(lines.heads["active_channels"][which[0]])
    require_memory((len(slices), coils, ny, nx), max_bytes, name)
    z_of = {counter: z for z, counter in enumerate(slices)}
    centre = ny // 2 if header.centre_line is None else header.centre_line
    row_of = lines.index("kspace_encode_step_1").astype(int) - centre + ny // 2
    rows = row_of[which]
    if rows.min() < 0 or rows.max() >= ny:
        raise _unfit(name, f"a phase encoding is {int(max(-rows.min(), rows.max() - ny + 1))} steps outside the grid")
    keys = np.stack([lines.index("slice")[which], rows, lines.index("average")[which]])
    if len(np.unique(keys, axis=1).T) != len(which):
        raise _unfit(name, "a line of one slice and average comes twice")
    kspace = np.zeros((len(slices), coils, ny, nx), dtype=np.complex64)
    counts = np.zeros((len(slices), ny, nx), dtype=np.uint16)
    for i, line in lines.samples(which):
        try:
            samples, places = columns(lines.heads[i], nx)
        except ValueError as error:
            raise _unfit(name, str(error)) from error
        z, row = z_of[int(lines.index("slice")[i])], row_of[i]
        kspace[z, :, row, places] += line[:, samples].T
        counts[z, row, places] += 1
    averages = np.unique(counts[counts > 0])
    if len(averages) != 1:
        raise InputRefused(
            "E-KSP-14",
            f"Samples of {name} were measured {averages.min()} to {averages.max()} times.",
            why="Their mean would have more noise in some lines than in others.",
            fix="Export complete averages only.",
        )
    kspace /= averages[0]
    sampled = counts.any(axis=(0, 2))
    first = [int(which[lines.index("slice")[which] == counter][0]) for counter in slices]
    return Sorted(kspace, int(averages[0]), bool((counts[:, sampled] > 0).all(axis=(0, 1)).all()), first)


def _unfit(name: str, fault: str) -> InputRefused:
    return InputRefused(
        "E-KSP-13",
        f"The lines of {name} do not fit its header: {fault}.",
        why="A line at a wrong place in k-space spreads over the whole image.",
        fix="Convert the scan again; the encoded matrix, encodingLimits and center_sample must agree with the lines.",
    )
