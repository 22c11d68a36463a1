"""The lines of an ISMRMRD file: which of them make the image, and what the others are for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem
from medldm_rawdata.hdf5_file import damaged
from medldm_rawdata.ismrmrd_header import ScanHeader

# Flags are numbered from 1 (ISMRMRD::ISMRMRD_AcquisitionFlags).
NOISE, CALIBRATION, CALIBRATION_AND_IMAGE, REVERSE = 19, 20, 21, 22
_NAVIGATION, PHASE_CORRECTION = 23, 24
# Navigator, phase correction, feedback, dummy scan, surface coil correction, phase stabilisation.
_NOT_OF_THE_IMAGE = (_NAVIGATION, PHASE_CORRECTION, 26, 27, 28, 29, 30, 31)
_HEAD = (
    *("flags", "idx", "number_of_samples", "active_channels", "center_sample", "discard_pre", "discard_post"),
    *("encoding_space_ref", "sample_time_us", "position", "read_dir", "phase_dir", "slice_dir"),
)
_IDX = (
    *("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice"),
    *("contrast", "phase", "repetition", "set"),
)
# Modes of calibration whose lines are no part of the image.
_APART = ("separate", "external")
# Lines read at once: the library allocates what a line claims to hold.
_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Lines:
    """All lines of a file.

    Attributes:
        heads: one record for each line.
        image: indices of the lines of the image.
        noise: indices of the noise scan.
        calibration: indices of a separate calibration scan with the image's encoding, as the header calls it.
        problems: what was left out.
    """

    dataset: Any
    heads: NDArray[Any]
    image: NDArray[np.intp]
    noise: NDArray[np.intp]
    calibration: NDArray[np.intp]
    problems: tuple[Problem, ...]
    path: Path

    def index(self, name: str) -> NDArray[Any]:
        """A counter of all lines, e.g. ``slice``."""
        return np.asarray(self.heads["idx"][name])

    def samples(self, which: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.complex64]]]:
        """Lines one after another: index, and samples (coil, sample).

        Raises:
            InputRefused: E-KSP-02 when a line has another length than its head says.
        """
        for i, values in self.stored("data", which):
            coils, samples = (int(self.heads[name][i]) for name in ("active_channels", "number_of_samples"))
            if np.size(values) != 2 * coils * samples:
                raise damaged(self.path)
            line = np.ascontiguousarray(values, dtype=np.float32).view(np.complex64)
            yield i, line.reshape(coils, samples)

    def stored(self, field: str, which: NDArray[np.intp]) -> Iterator[tuple[int, Any]]:
        """What the file holds of lines in a field of the table, a few at a time: index, and its numbers."""
        for first in range(0, len(which), _AT_ONCE):
            at = np.sort(which[first : first + _AT_ONCE])
            yield from zip(at.tolist(), self.dataset.fields(field)[at], strict=True)


def flagged(heads: NDArray[Any], flag: int) -> NDArray[np.bool_]:
    """Lines with a flag."""
    return np.asarray((heads["flags"].astype(np.uint64) >> np.uint64(flag - 1)) & np.uint64(1), dtype=bool)


def read_lines(dataset: Any, header: ScanHeader, max_bytes: int, path: Path) -> Lines:
    """Read the heads and sort out the lines.

    Calibration lines belong to the image where the header says that they are embedded in it; those of a separate scan,
    which may have another contrast, are kept apart.

    Raises:
        InputRefused: E-KSP-08 when it is no table of lines, E-KSP-10 too many, E-KSP-18 no line of an image, E-KSP-12
            lines with different numbers of coils.
    """
    fields: Any = getattr(dataset, "dtype", np.dtype(float)).fields or {}
    head: Any = fields["head"][0] if "head" in fields else np.dtype(float)
    known = set(head.names or ()) >= set(_HEAD) and set(head["idx"].names or ()) >= set(_IDX)
    if not known or "data" not in fields or not isinstance(dataset, h5py.Dataset) or len(dataset.shape) != 1:
        raise InputRefused(
            "E-KSP-08",
            f"dataset/data of {path.name} is no table of ISMRMRD acquisitions.",
            why="Each line comes with a head that says where in k-space it belongs.",
            fix="Convert the scan again with a current converter.",
        )
    if dataset.shape[0] * head.itemsize * 2 > max_bytes:
        raise InputRefused(
            "E-KSP-10",
            f"{path.name} has {dataset.shape[0]} lines, more than the memory allowed.",
            fix="Allow more memory, or export fewer slices.",
        )
    heads = dataset.fields("head")[()]
    noise = flagged(heads, NOISE)
    separate = flagged(heads, CALIBRATION) & ~flagged(heads, CALIBRATION_AND_IMAGE) & ~noise
    others = np.any([flagged(heads, flag) for flag in _NOT_OF_THE_IMAGE], axis=0) & ~noise
    elsewhere = (heads["encoding_space_ref"] != 0) & ~noise
    embedded, apart = header.calibration == "embedded", header.calibration in _APART
    image = ~(noise | others | elsewhere) & ~(separate & (not embedded))
    problems = []
    for left_out, what in (
        (
            separate & ~elsewhere & (not embedded and not apart),
            "of a separate calibration scan, whose contrast may differ,",
        ),
        (others, "of navigation, phase correction or feedback"),
        (elsewhere & ~others, "of further encodings"),
    ):
        if left_out.any():
            sentence = f"{int(left_out.sum())} lines {what} are left out."
            problems.append(Problem("E-KSP-23", "warning", sentence, "Coil maps come from the image's own centre."))
    problems += _ghosts(heads, image, others, header)
    if not image.any():
        raise InputRefused(
            "E-KSP-18",
            f"{path.name} holds {len(heads)} lines, and none of an image.",
            why="There is nothing to reconstruct from.",
            fix="Check that the measurement was exported completely.",
        )
    coils = np.unique(heads["active_channels"][image | noise])
    if len(coils) != 1 or coils[0] == 0:
        raise InputRefused(
            "E-KSP-12",
            f"The lines of {path.name} have different numbers of coils: {coils.tolist()}.",
            why="It is not known which coil is which.",
            fix="Export the scan with one set of coils, and the noise scan with the same.",
        )
    calibration = separate & ~elsewhere & ~others & apart
    return Lines(
        dataset,
        heads,
        np.flatnonzero(image),
        np.flatnonzero(noise),
        np.flatnonzero(calibration),
        tuple(problems),
        path,
    )


def _ghosts(
    heads: NDArray[Any], image: NDArray[np.bool_], others: NDArray[np.bool_], header: ScanHeader
) -> list[Problem]:
    """A warning of readouts to and fro, as of echo planar imaging, that were to be aligned by lines of their own."""
    back = int((flagged(heads, REVERSE) & image).sum())
    aligning = int((flagged(heads, PHASE_CORRECTION) & others).sum())
    if header.trajectory != "cartesian" or not back or not aligning:
        return []
    told = (
        f"{back} of {int(image.sum())} lines were read out in reverse, and are not aligned with the others by the "
        f"{aligning} lines of phase correction: the image may have ghosts half a field of view away."
    )
    return [Problem("E-KSP-29", "warning", told, "Apply the phase correction first, and store the lines without it.")]
