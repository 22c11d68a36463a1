"""Views that are turned or mirrored copies of one another.

Turning a square image by 90 degrees, or mirroring it, turns the projection of one view into that of another. Of
equispaced parallel views over half a turn only a quarter need to be stored, of fan views over a full turn an eighth:
the matrix of these few views is applied to the turned images as further columns. One slice is then projected several
times faster, because its time is that of reading the matrix. The two agree to rounding, but for fan rays under exactly
45 degrees, which can be followed along either axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medldm_ct.geometry import Geometry, ImagePlane, ParallelBeam

# ((a, b), (c, d)): x' = a x + b y, y' = c x + d y; turns first, so that detectors that are off centre use them.
_TURNS = (((1, 0), (0, 1)), ((0, -1), (1, 0)), ((-1, 0), (0, -1)), ((0, 1), (-1, 0)))
_MIRRORS = (((-1, 0), (0, 1)), ((1, 0), (0, -1)), ((0, 1), (1, 0)), ((0, -1), (-1, 0)))
# Angles in float32 are off by up to 4e-7; a view that is 1e-6 off is misplaced by 1e-6 of the image's radius.
_SAME_ANGLE = 1e-6
_KEYS_PER_RADIAN = 1e4


@dataclass(frozen=True, eq=False)
class Symmetry:
    """How all views follow from some.

    Attributes:
        geometry: the views that are kept.
        images: number of turned or mirrored images g.
        turn: (pixel * g,) int32, pixel of the image to read for each pixel of each turned image.
        unturn: (pixel * g,) int32, entry of the turned images to add for each pixel of the image.
        view: (ray,) int32, entry of ``(kept ray, g)`` that holds each ray of the scan.
    """

    geometry: Geometry
    images: int
    turn: Tensor
    unturn: Tensor
    view: Tensor


def find_symmetry(geometry: Geometry, plane: ImagePlane) -> Symmetry | None:
    """The reduction of a scan, or None where its views are not copies of one another."""
    square = plane.shape[0] == plane.shape[1] and plane.spacing[0] == plane.spacing[1]
    maps = [m for m in (*_TURNS, *_MIRRORS) if square or m[0][0] != 0]
    lookup = {_key(a): i for i, a in reversed(list(enumerate(geometry.angles)))}
    kept: list[int] = []
    place: dict[int, tuple[int, int, bool]] = {}
    for i, angle in enumerate(geometry.angles):
        if i in place:
            continue
        kept.append(i)
        for g, matrix in enumerate(maps):
            for target, mirrored in _images_of(angle, matrix, geometry):
                j = _view_at(target, geometry, lookup)
                if j is not None and j not in place:
                    place[j] = (len(kept) - 1, g, mirrored)
                    break
        place.setdefault(i, (len(kept) - 1, 0, False))
    used = sorted({g for _, g, _ in place.values()})
    if 4 * len(kept) > 3 * geometry.views:
        return None
    return _tables(geometry, plane, kept, place, [maps[g] for g in used], used)


def _key(angle: float) -> int:
    return math.floor(angle % (2 * math.pi) * _KEYS_PER_RADIAN)


def _view_at(angle: float, geometry: Geometry, lookup: dict[int, int]) -> int | None:
    for nearby in (angle - _SAME_ANGLE, angle, angle + _SAME_ANGLE):
        view = lookup.get(_key(nearby))
        if view is not None and abs(math.remainder(geometry.angles[view] - angle, 2 * math.pi)) < _SAME_ANGLE:
            return view
    return None


def _images_of(angle: float, matrix: tuple[tuple[int, int], ...], geometry: Geometry) -> list[tuple[float, bool]]:
    """Views, and whether their bins run backwards, that a view becomes when the image is mapped."""
    (a, b), (c, d) = matrix
    cos, sin = math.cos(angle), math.sin(angle)
    turned = math.atan2(c * cos + d * sin, a * cos + b * sin)
    proper = a * d - b * c > 0
    centred = geometry.offset == 0
    if isinstance(geometry, ParallelBeam):
        return [(turned, False)] + ([(turned + math.pi, True)] if centred else [])
    if proper:
        return [(turned, False)]
    return [(turned + math.pi, True)] if centred else []


def _tables(
    geometry: Geometry,
    plane: ImagePlane,
    kept: list[int],
    place: dict[int, tuple[int, int, bool]],
    maps: list[tuple[tuple[int, int], ...]],
    used: list[int],
) -> Symmetry:
    (ny, nx), g, bins = plane.shape, len(maps), geometry.bins
    # Twice the distance from the centre in pixels: exact integers for odd and even sizes.
    y = (2 * torch.arange(ny) - (ny - 1))[:, None].expand(ny, nx)
    x = (2 * torch.arange(nx) - (nx - 1))[None].expand(ny, nx)
    turns = []
    for (a, b), (c, d) in maps:
        row = (c * x + d * y + (ny - 1)) // 2
        column = (a * x + b * y + (nx - 1)) // 2
        turns.append((row * nx + column).flatten())
    turn = torch.stack(turns, 1)
    unturn = torch.stack([t.argsort() * g + i for i, t in enumerate(turns)], 1)
    rank = {old: new for new, old in enumerate(used)}
    view = torch.empty(geometry.views, bins, dtype=torch.int64)
    bin_ = torch.arange(bins)
    for i, (source, image, mirrored) in place.items():
        view[i] = (source * bins + (bin_.flip(0) if mirrored else bin_)) * g + rank[image]
    return Symmetry(geometry.with_views(kept), g, turn.flatten().int(), unturn.flatten().int(), view.flatten().int())
