"""``pictures.npz``: what a report shows of a run, in few bytes: middle slices at full size, volumes made smaller.

Everything stands upright (z to Superior, y to Posterior, x to Left) in 256 levels between the limits that it is shown
with: these are pictures, the values are in the images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medldm.data import Grid, Volume
from medldm.pipeline.maps import PRIOR_SHARE, SPREAD, Map
from medldm.pipeline.preview import (
    PLANES,
    canonical,
    difference,
    largest,
    middle_slice,
    unit_of,
    window,
)
from medldm.priors.planes import pose_of

PICTURES = "pictures.npz"
# Voxels of a volume for the viewer in the report: 1 MB each before compression.
_MOST_VOXELS = 2**20
_FACTS = "facts"
Kind = Literal["image", "difference", "spread", "share"]
Levels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Picture:
    """One image of a run, as a report shows it.

    Attributes:
        kind: grey values, a signed difference, a standard deviation, or a share of 0 to 1.
        limits: values of the levels 0 and 255, in ``unit``.
        unit: as printed behind a number.
        planes: by name the middle slice, rows from top to bottom: Superior or Anterior first, the patient's right (or
            anterior) at the left.
        volume: (z, y, x), reduced.
    """

    kind: Kind
    limits: tuple[float, float]
    unit: str
    planes: Mapping[str, Levels]
    volume: Levels


@dataclass(frozen=True, eq=False)
class Pictures:
    """All images of a run.

    Attributes:
        images: by name: ``truth`` (where there is one), ``baseline``, ``reconstruction``, ``change`` (from the
            baseline), ``error`` (against the truth), ``spread``, ``prior-share``.
        spacing: of the slices in mm along z, y, x.
        affine: (4, 4) of the reduced volumes, index (x, y, z) to RAS mm, as NIfTI has it.
        reduced: how many voxels became one along z, y, x.
        oriented: whether it is known how the patient lies.
    """

    images: Mapping[str, Picture]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    reduced: tuple[int, int, int]
    oriented: bool


def pictures_of(image: Volume, baseline: Volume, truth: Volume | None, maps: Mapping[str, Map]) -> Pictures:
    """The pictures of a run, all images in one window.

    Args:
        image: the reconstruction.
        baseline: the start image.
        truth: the image measured, or a reference; None without one.
        maps: of uncertainty; spread and share of the prior are taken.
    """
    grey, unit = window(truth or baseline), unit_of(image)
    wanted: list[tuple[str, Kind, Volume, tuple[float, float], str]] = []
    if truth is not None:
        wanted.append(("truth", "image", truth, grey, unit))
    wanted += [("baseline", "image", baseline, grey, unit), ("reconstruction", "image", image, grey, unit)]
    for name, reference in (("change", baseline), ("error", truth)):
        if reference is not None:
            away = difference(image, reference)
            span = max(largest(away), 1e-6 * (grey[1] - grey[0]))
            wanted.append((name, "difference", away, (-span, span * 127 / 128), unit))  # level 128 is zero
    if SPREAD in maps:
        spread = maps[SPREAD].volume
        wanted.append(("spread", "spread", spread, (0.0, max(largest(spread), 1e-6 * (grey[1] - grey[0]))), unit))
    if PRIOR_SHARE in maps:
        wanted.append((PRIOR_SHARE, "share", maps[PRIOR_SHARE].volume, (0.0, 1.0), ""))
    _, spacing = canonical(image)
    upright = _upright(image.grid)
    factors = _factors(upright.shape, spacing)
    images = {name: _picture(kind, volume, limits, unit, factors) for name, kind, volume, limits, unit in wanted}
    known = image.history.orientation_known
    return Pictures(images, spacing, _nifti_affine(upright, factors), factors, known)


def _picture(
    kind: Kind, volume: Volume, limits: tuple[float, float], unit: str, factors: tuple[int, int, int]
) -> Picture:
    data, spacing = canonical(volume)
    return Picture(
        kind,
        (float(limits[0]), float(limits[1])),
        unit,
        {plane: _levels(middle_slice(data, spacing, plane)[0], limits) for plane in PLANES},
        _levels(_block_means(data, factors), limits),
    )


def _levels(data: NDArray[np.float32], limits: tuple[float, float]) -> Levels:
    low, high = limits
    scaled = np.nan_to_num((np.asarray(data, dtype=np.float32) - low) * (255.0 / (high - low)))
    return np.ascontiguousarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _block_means(data: NDArray[np.float32], factors: tuple[int, int, int]) -> NDArray[np.float32]:
    """Means over blocks; the last block of an axis repeats its last voxel where it is not full."""
    if factors == (1, 1, 1):
        return data
    spare = [(0, -n % f) for n, f in zip(data.shape, factors, strict=True)]
    (z, y, x), (a, b, c) = data.shape, factors
    blocks = np.pad(data, spare, mode="edge").reshape(-(-z // a), a, -(-y // b), b, -(-x // c), c)
    return np.asarray(blocks.mean((1, 3, 5)), dtype=np.float32)


def _factors(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    """The smallest that bring the volume below the limit, the finest axis made coarser first."""
    factors = [1, 1, 1]
    while math.prod(-(-n // f) for n, f in zip(shape, factors, strict=True)) > _MOST_VOXELS:
        able = [axis for axis in range(3) if factors[axis] < shape[axis]]
        finest = min(able, key=lambda axis: spacing[axis] * factors[axis])
        factors[finest] += 1
    return factors[0], factors[1], factors[2]


def _upright(grid: Grid) -> Grid:
    """The grid of :func:`medldm.pipeline.preview.canonical`."""
    pose = pose_of(grid)
    affine = grid.affine[:, [*pose.order, 3]].copy()
    affine[:3, list(pose.mirrored)] *= -1
    first = [0.0, 0.0, 0.0]
    for axis in (pose.order[place] for place in pose.mirrored):
        first[axis] = grid.shape[axis] - 1.0
    affine[:3, 3] = grid.world(first)
    return Grid(tuple(grid.shape[axis] for axis in pose.order), affine)


def _nifti_affine(grid: Grid, factors: tuple[int, int, int]) -> NDArray[np.float64]:
    """Of the blocks, in NIfTI's order of axes and RAS."""
    affine = grid.affine @ np.diag([*factors, 1.0])
    affine[:3, 3] = grid.world([(factor - 1) / 2 for factor in factors])
    return Grid(grid.shape, affine).nifti_affine


def save_pictures(path: Path, pictures: Pictures) -> Path:
    """Write them, compressed."""
    facts: dict[str, Any] = {
        "spacing": pictures.spacing,
        "affine": pictures.affine.tolist(),
        "reduced": pictures.reduced,
        "oriented": pictures.oriented,
        "images": {
            name: {"kind": one.kind, "limits": one.limits, "unit": one.unit} for name, one in pictures.images.items()
        },
    }
    arrays: dict[str, Any] = {_FACTS: np.array(json.dumps(facts))}
    for name, one in pictures.images.items():
        arrays |= {f"{name}.{plane}": one.planes[plane] for plane in PLANES}
        arrays[f"{name}.volume"] = one.volume
    np.savez_compressed(path, allow_pickle=False, **arrays)
    return path


def load_pictures(path: Path, only: Collection[str] | None = None) -> Pictures:
    """The inverse of :func:`save_pictures`; of the images named in ``only``, where not all are needed.

    Raises:
        OSError, ValueError, KeyError, BadZipFile: no such file, or not one of these.
    """
    # A file of its own: of one that is damaged numpy leaves its own open.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        facts = json.loads(str(file[_FACTS]))
        images = {
            name: Picture(
                told["kind"],
                (float(told["limits"][0]), float(told["limits"][1])),
                str(told["unit"]),
                {plane: file[f"{name}.{plane}"] for plane in PLANES},
                file[f"{name}.volume"],
            )
            for name, told in facts["images"].items()
            if only is None or name in only
        }
    z, y, x = map(float, facts["spacing"])
    a, b, c = map(int, facts["reduced"])
    affine = np.asarray(facts["affine"], dtype=np.float64)
    return Pictures(images, (z, y, x), affine, (a, b, c), bool(facts.get("oriented", True)))
