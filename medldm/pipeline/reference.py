"""A truth beside a scan: brought to its slices, or refused before anything runs."""

from __future__ import annotations

from pathlib import Path

from medldm.data import Grid, ReadRequest, Volume
from medldm.errors import InputRefused
from medldm.host import Host
from medldm.pipeline.reading import read_image


def read_compared(host: Host, path: str | Path, request: ReadRequest | None) -> Volume:
    """An image that another one is compared with; there is no option to choose one of several.

    Raises:
        InputRefused: those of its reader, with a remedy that can be followed here.
    """
    try:
        return read_image(host, path, request)
    except InputRefused as error:
        if "--series" not in error.fix and "--volume-index" not in error.fix:
            raise
        fix = f"What is compared is one volume: name a file or folder that holds no other; medldm inspect {path} lists."
        raise InputRefused(error.code, error.what, why=error.why, fix=fix) from error


def require_one_grid(image: Grid, truth: Grid) -> None:
    """Refuse a truth that cannot be compared voxel by voxel.

    Raises:
        InputRefused: E-EVAL-01 another shape than the image's, E-EVAL-02 another place.
    """
    if image.shape != truth.shape:
        raise InputRefused(
            "E-EVAL-01",
            f"The image has {image.shape} voxels and the truth {truth.shape}.",
            why="Metrics compare voxel by voxel; nothing is resampled in silence.",
            fix="Bring both onto one grid first.",
        )
    if image != truth:
        raise InputRefused(
            "E-EVAL-02",
            "The image and the truth have the same shape but lie in different places.",
            fix="Check the geometry of both with medldm inspect.",
        )


def reference_on(grid: Grid, truth: Volume) -> Volume:
    """The truth of an image on ``grid``: as it is, or the slices of it that the image is of.

    Raises:
        InputRefused: see :func:`require_one_grid`.
    """
    cut = None if truth.grid == grid else slices_of(grid, truth.grid)
    found = truth if cut is None else truth.cropped(cut)
    require_one_grid(grid, found.grid)
    return found


def slices_of(part: Grid, whole: Grid) -> slice | None:
    """The range along z of ``whole`` that ``part`` is; None where it is none."""
    count = part.shape[0]
    found = (slice(first, first + count) for first in range(whole.shape[0] - count + 1))
    return next((cut for cut in found if whole.cropped(cut) == part), None)
