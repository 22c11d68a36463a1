"""Separate calibration lines of ISMRMRD: the fully sampled centre that coil maps may be estimated from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem
from medldm_rawdata.ismrmrd_header import ScanHeader
from medldm_rawdata.ismrmrd_lines import Lines
from medldm_rawdata.ismrmrd_sorting import sort_lines
from medldm_rawdata.kspace_sampling import full_centre

# Fewer lines show no coil maps.
_LEAST = 4


@dataclass(frozen=True, eq=False)
class Calibration:
    """What became of the separate calibration lines.

    Attributes:
        block: (z or kz, coil, ky, kx), fully sampled, frequency zero at ``n // 2`` of each length, readouts as long as
            the image's; None where there are none, or they do not fit the image.
        problems: what to tell of them.
    """

    block: NDArray[np.complex64] | None = None
    problems: tuple[Problem, ...] = ()


def calibration_of(
    lines: Lines,
    which: NDArray[np.intp],
    slices: list[int],
    header: ScanHeader,
    counters: Sequence[str],
    max_bytes: int,
) -> Calibration:
    """The calibration of one image.

    Args:
        lines: of the file.
        which: those of the image.
        slices: counters of its slices, in the order of z.
        header: of the file.
        counters: that tell images apart; lines that all have the same ones serve every image.
        max_bytes: of memory.

    Raises:
        InputRefused: E-KSP-02 a line is shorter than it says, E-KSP-10 memory.
    """
    own = _own(lines, which, slices, counters)
    if not len(own):
        return Calibration(problems=_left_out(len(lines.calibration), "none of them is of this image"))
    try:
        block, fault = _block(lines, which, own, slices, header, max_bytes)
    except InputRefused as refusal:
        if refusal.code not in ("E-KSP-13", "E-KSP-14"):
            raise
        block, fault = None, "they do not fit the image's k-space, or were not all averaged alike"
    if block is None:
        return Calibration(problems=_left_out(len(own), fault))
    told = f"{len(own)} lines of a separate calibration scan make the coil maps and nothing else."
    return Calibration(block, (Problem("E-KSP-27", "note", told, "Their contrast may differ from the image's."),))


def _own(lines: Lines, which: NDArray[np.intp], slices: list[int], counters: Sequence[str]) -> NDArray[np.intp]:
    """The calibration lines of an image."""
    found = lines.calibration[np.isin(lines.index("slice")[lines.calibration], slices)]
    values = np.stack([lines.index(name) for name in counters], axis=1)
    if len(np.unique(values[found], axis=0)) > 1:
        found = found[(values[found] == values[which[0]]).all(axis=1)]
    return found


def _block(
    lines: Lines, which: NDArray[np.intp], own: NDArray[np.intp], slices: list[int], header: ScanHeader, max_bytes: int
) -> tuple[NDArray[np.complex64] | None, str]:
    """The block around frequency zero, or why there is none."""
    if (lines.heads["active_channels"][own] != lines.heads["active_channels"][which[0]]).any():
        return None, "they have other coils than the image"
    if len(np.unique(lines.index("slice")[own])) != len(slices):
        return None, "some slices have none"
    found = sort_lines(lines, own, slices, header, max_bytes)
    if not found.whole_readout or not np.isfinite(found.kspace).all():
        return None, "some of their samples are missing, NaN or infinite"
    sampled = np.stack([plane.any(axis=(0, 2)) for plane in found.kspace])
    if header.is_volume:
        planes, rows = full_centre(sampled)
    else:
        planes, rows = len(sampled), full_centre(np.asarray(sampled.all(axis=0))[:, None])[0]
    if rows < min(_LEAST, sampled.shape[1]) or (header.is_volume and planes < min(_LEAST, len(sampled))):
        around = f"{planes} x {rows} (kz x ky)" if header.is_volume else str(rows)
        return None, f"around frequency zero there are {around} next to one another"
    parts = [slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(sampled.shape, (planes, rows), strict=True)]
    return found.kspace[parts[0], :, parts[1]].copy(), ""


def _left_out(count: int, why: str) -> tuple[Problem, ...]:
    if not count:
        return ()
    sentence = f"{count} lines of a separate calibration scan, whose contrast may differ, are left out: {why}."
    return (Problem("E-KSP-23", "warning", sentence, "Coil maps come from the image's own centre."),)
