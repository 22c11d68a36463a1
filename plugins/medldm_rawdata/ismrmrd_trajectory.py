"""Where in k-space the lines of an ISMRMRD file were measured, in a unit that the format leaves open.

Gadgetron and MRIReco write -0.5 ... 0.5, mrpro and BART steps of 1 / field of view, others 1/m. A trajectory ends where
the image's k-space does, so its largest number tells which it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem
from medldm_rawdata.hdf5_file import damaged
from medldm_rawdata.ismrmrd_header import ScanHeader
from medldm_rawdata.ismrmrd_lines import Lines
from medldm_rawdata.kspace_scan import require_memory
from medldm_rawdata.kspace_shots import unusable
from medldm_rawdata.trajectory_units import Scale, reach

# Of the header's trajectories, those whose lines say where they were measured.
STATED = frozenset({"radial", "goldenangle", "spiral", "other"})
# A unit fits where the trajectory ends in the first of these ranges of the image's k-space; in the second, where none
# fits the first. Conventions differ by 2 or more, but for coincidences of the field of view.
_RANGES = ((0.9, 1.05), (0.7, 1.05))
# Encoded voxels and those of the image are equal up to this; units within it of one another are one.
_EQUAL = 0.02
# Of the largest number in the plane: a third column below it is zero.
_ZERO = 1e-3


@dataclass(frozen=True, eq=False)
class Places:
    """Of the lines of the image.

    Attributes:
        of: line -> (sample, 2), ky and kx in the file's unit; NaN where a sample is marked to be discarded.
        problems: what was noticed.
    """

    of: dict[int, NDArray[np.float32]]
    problems: tuple[Problem, ...]

    def stack(self, which: NDArray[np.intp]) -> NDArray[np.float64]:
        """(shot, sample, 2) of some lines."""
        return np.stack([self.of[int(i)] for i in which]).astype(np.float64)


def plane_of_image(header: ScanHeader, name: str) -> tuple[tuple[int, int], tuple[float, float]]:
    """Matrix (y, x) and spacing of the image.

    The readout's encoded voxel is what was measured, with oversampling or without; an image interpolated by the scanner
    has smaller ones. Converters put the number of shots where the encoded matrix has its y, so that is not looked at:
    the image says how its voxels are shaped, and how far it reaches.

    Raises:
        InputRefused: E-KSP-06 when encoded voxels are smaller than the image's.
    """
    fx, fy, _ = header.recon.field_of_view
    nx, ny, _ = header.recon.matrix
    dx = header.encoded.field_of_view[0] / header.encoded.matrix[0]
    if fx / nx > (1 + _EQUAL) * dx:
        raise InputRefused(
            "E-KSP-06",
            f"The ISMRMRD header of {name} has encoded voxels of {dx:.4g} mm along the readout, finer than "
            f"those of the image, {fx / nx:.4g} mm.",
            why="It is not known how far in k-space the trajectory reaches.",
            fix="Correct encodedSpace: a readout with twice the samples has twice the field of view.",
        )
    dy = dx * (fy / ny) / (fx / nx)
    return (max(1, round(fy / dy)), max(1, round(fx / dx))), (dy, dx)


def recognised(header: ScanHeader, name: str) -> Scale:
    """The scale of a trajectory whose unit is not stated.

    It is refused under E-KSP-40 where none or several of the conventions fit, and else said in the note E-KSP-42.

    Args:
        header: of the file.
        name: of the file, for the message.
    """
    _, spacing = plane_of_image(header, name)
    step = np.asarray(spacing)
    lengths = np.asarray(header.recon.field_of_view[1::-1], dtype=np.float64)
    oversampling = header.encoded.field_of_view[0] / header.recon.field_of_view[0]
    conventions = {
        "cycles per voxel": 1 / step,
        "radians per voxel": 1 / (2 * math.pi * step),
        "cycles per field of view": 1 / lengths,
        "cycles per encoded field of view": 1 / (lengths * oversampling),
        "1/m": np.full(2, 1e-3),
        "rad/m": np.full(2, 1e-3 / (2 * math.pi)),
    }

    def scale(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[Problem, ...]]:
        ends = {words: _end(points * factors, spacing) for words, factors in conventions.items()}
        for least, most in _RANGES:
            fit = [w for w, (axis, radius) in ends.items() if axis <= most and radius >= least]
            kept = [w for i, w in enumerate(fit) if not any(_same(conventions[w], conventions[v]) for v in fit[:i])]
            if kept:
                break
        largest = float(np.abs(points).max())
        if len(kept) != 1:
            listed = ", ".join(f"{end:.3g} in {words}" for words, (end, _) in ends.items())
            raise InputRefused(
                "E-KSP-40",
                f"The unit of the trajectory of {name} is not known: {' and '.join(kept) or 'none'} would fit.",
                why=f"The format does not state it. Its largest number is {largest:.4g}, which is as much of the "
                f"image's k-space: {listed}.",
                fix="Store k-space and trajectory as an npz whose JSON states trajectory_unit.",
            )
        told = (
            f"The format does not state the unit of a trajectory. It is taken to be {kept[0]}: the largest number, "
            f"{largest:.4g}, is then {ends[kept[0]][0]:.3g} of the image's k-space."
        )
        return conventions[kept[0]], (Problem("E-KSP-42", "note", told),)

    return scale


def places_of(lines: Lines, max_bytes: int) -> Places:
    """Read where the lines of the image were measured.

    Raises:
        InputRefused: E-KSP-02, -10; E-KSP-07 three dimensions; E-KSP-13 shots of different lengths; E-KSP-41 lines
            without a trajectory.
    """
    name, heads = lines.path.name, lines.heads[lines.image]
    dimensions = np.unique(heads["trajectory_dimensions"]).tolist()
    if len(dimensions) != 1 or dimensions[0] < 2 or "traj" not in lines.dataset.dtype.fields:
        stated = " or ".join(map(str, dimensions))
        raise unusable(name, f"its lines come with {stated} coordinates of each sample, where all should have two")
    if dimensions[0] > 3:
        raise _three_dimensional(name, f"{dimensions[0]} coordinates")
    lengths = np.unique(heads["number_of_samples"])
    if len(lengths) != 1 or lengths[0] < 1:
        raise InputRefused(
            "E-KSP-13",
            f"The lines of {name} have {lengths.min()} to {lengths.max()} samples.",
            why="Shots of different lengths are not understood.",
            fix="Store each kind in a file of its own.",
        )
    require_memory((len(lines.image), int(lengths[0]), 3), max_bytes, name)
    stored = _stored(lines, dimensions[0], int(lengths[0]))
    problems = () if dimensions[0] == 2 else _third_column(stored, name)
    # The file has kx first, along the readout direction, which is the columns of the image.
    return Places({i: values[:, 1::-1] for i, values in stored.items()}, problems)


def _stored(lines: Lines, dimensions: int, length: int) -> dict[int, NDArray[np.float32]]:
    """Coordinates (sample, dimension) of each line as the file has them, NaN where discarded."""
    stored = {}
    for i, values in lines.stored("traj", lines.image):
        if np.size(values) != dimensions * length:
            raise damaged(lines.path)
        own = np.array(values, dtype=np.float32).reshape(length, dimensions)
        pre, post = (int(lines.heads[end][i]) for end in ("discard_pre", "discard_post"))
        own[:pre] = np.nan
        own[max(0, length - post) :] = np.nan
        stored[i] = own
    return stored


def _third_column(stored: dict[int, NDArray[np.float32]], name: str) -> tuple[Problem, ...]:
    """Zero, or weights of the density, which some converters write there; else the scan is three-dimensional."""
    values = np.concatenate(list(stored.values()))
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return ()
    largest, third = np.abs(values[:, :2]).max(), values[:, 2]
    if np.abs(third).max() <= _ZERO * largest:
        return ()
    if third.min() < -_ZERO * largest:
        raise _three_dimensional(name, "a third coordinate that is positive and negative")
    told = "The third number of each sample is never negative; it is taken for a density weight, and not used."
    return (Problem("E-KSP-42", "note", told),)


def _three_dimensional(name: str, fault: str) -> InputRefused:
    return InputRefused(
        "E-KSP-07",
        f"The trajectory of {name} has {fault}.",
        why="Trajectories within slices are understood.",
        fix="Transform along a Cartesian third direction first, and store the slices.",
    )


def _end(points: NDArray[np.float64], spacing: tuple[float, float]) -> tuple[float, float]:
    """How far points in 1/mm reach in the image's k-space: along an axis, and in any direction."""
    along = float(reach(points, spacing).max())
    return along, float(2 * np.linalg.norm(points * np.asarray(spacing), axis=-1).max())


def _same(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool(np.allclose(a, b, rtol=_EQUAL))
