"""From planes to a grid: order, spacing, tilt. What is not understood is named, never guessed.

Slices are ordered by their distance along the normal (DICOM PS3.3 C.7.6.2.1.1), never by InstanceNumber. With
distances d_k along the normal, plane k starts at ``p_0 + (d_k - d_0) * u``; u is the normal for an upright stack and
leans away from it for a gantry-tilted one, whatever the tag GantryDetectorTilt says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medldm.data import Grid
from medldm.errors import Problem
from medldm_dicom.frame import Frame, Vector
from medldm_dicom.header import text
from medldm_dicom.problems import error, remark

SAME_PLACE_MM = 1e-3
EVEN_FRACTION = 0.01
EVEN_FLOOR_MM = 0.01
TILT_COSINE = 1e-3
NOTE_MM = 1e-3
MAX_TILT_DEGREES = 45.0
GAP_CODES = frozenset({"E-GEO-01", "E-GEO-02", "E-GEO-12"})
TILT_CODES = frozenset({"E-GEO-03"})
ALLOW_GAPS = "Give --allow-gaps resample to interpolate linearly along z, or find the missing file."


@dataclass(frozen=True, eq=False)
class Layout:
    """A stack of planes in order.

    Attributes:
        shelves: frames by place, one frame each unless there are duplicates.
        distances: (n,) along the normal in mm, increasing.
        step: spacing along the normal of the regular grid, in mm.
        lean: (3,) displacement of the plane's first pixel per mm of distance; the normal when upright.
        directions: (3, 3) rows: normal, column direction (y), row direction (x).
        spacing: (y, x) in mm.
        problems: errors refuse the reading unless an option lifts them.
    """

    shelves: tuple[tuple[Frame, ...], ...]
    distances: Vector
    step: float
    lean: Vector
    directions: Vector
    spacing: tuple[float, float]
    problems: tuple[Problem, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of the planes as they are."""
        rows, columns = self.shelves[0][0].header.size
        return len(self.shelves), rows, columns

    @property
    def tilt_degrees(self) -> float:
        """Angle between the normal and the line on which the planes start."""
        cosine = float(self.directions[0] @ self.lean) / float(np.linalg.norm(self.lean))
        return float(np.degrees(np.arccos(min(1.0, cosine))))

    @property
    def tilted(self) -> bool:
        """True when the lean is more than rounding."""
        return bool(np.linalg.norm(self.lean - self.directions[0]) > TILT_COSINE)

    def grid(self, slices: int | None = None) -> Grid:
        """The regular grid that starts at the first plane."""
        affine = np.eye(4)
        affine[:3, 0] = self.lean * self.step
        affine[:3, 1] = self.directions[1] * self.spacing[0]
        affine[:3, 2] = self.directions[2] * self.spacing[1]
        affine[:3, 3] = self.shelves[0][0].place
        n, rows, columns = self.shape
        return Grid((slices or n, rows, columns), affine)


def arrange(frames: Sequence[Frame], *, scattered: bool = False) -> Layout | Problem:
    """Put frames of one orientation and size in order.

    Returns:
        The layout with its problems, or the problem that leaves no layout to speak of.
    """
    first = frames[0]
    if scattered:
        return error(
            "E-GEO-04",
            f"{len(frames)} images from {first.label!r} on have different orientations.",
            "Choose a series whose planes are parallel.",
        )
    for frame in frames:
        lacking = [
            name
            for name, value in (
                ("ImagePositionPatient", frame.position),
                ("ImageOrientationPatient", frame.orientation),
                ("PixelSpacing", frame.spacing),
            )
            if value is None
        ]
        if lacking:
            return error(
                "E-GEO-06",
                f"{frame.label!r} states no usable {' and no '.join(lacking)}.",
                "Export the series again with its geometry.",
            )
    assert first.orientation is not None and first.spacing is not None
    row, column = first.orientation
    lengths = np.linalg.norm(first.orientation, axis=1)
    if np.abs(lengths - 1).max() > 1e-3 or abs(row @ column) > 1e-3:
        return error(
            "E-GEO-09",
            f"The directions of {first.label!r} are not two perpendicular unit vectors.",
            "Export the series again with its geometry.",
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    shelves, distances = _shelve(frames, normal)
    if len(shelves) == 1 and len({text(f.header.dataset, "SOPInstanceUID") for f in frames}) == len(frames) > 1:
        return error(
            "E-GEO-07",
            f"All {len(frames)} images lie at one place ({first.label!r}, {frames[1].label!r}, ...).",
            "Choose a series that covers a volume; a single image is read by its own path.",
        )
    return _measure(shelves, distances, np.stack([normal, column, row]), first.spacing)


def _shelve(frames: Sequence[Frame], normal: Vector) -> tuple[list[list[Frame]], Vector]:
    along = np.array([normal @ f.place for f in frames])
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    apart = gaps[gaps > SAME_PLACE_MM]
    same = max(SAME_PLACE_MM, EVEN_FRACTION * float(np.median(apart))) if len(apart) else SAME_PLACE_MM
    shelves: list[list[Frame]] = []
    distances: list[float] = []
    for k in order:
        if distances and along[k] - distances[-1] <= same:
            shelves[-1].append(frames[k])
        else:
            shelves.append([frames[k]])
            distances.append(float(along[k]))
    return shelves, np.array(distances)


def _measure(shelves: list[list[Frame]], distances: Vector, directions: Vector, spacing: tuple[float, float]) -> Layout:
    n = len(shelves)
    problems: list[Problem] = []
    doubled = [shelf for shelf in shelves if len(shelf) > 1]
    if doubled:
        a, b = doubled[0][:2]
        # Copies often have one name in two folders; then the folders tell them apart.
        names = [f.label if a.label != b.label else f"{f.file.parent.name}/{f.label}" for f in (a, b)]
        problems.append(
            remark(
                "E-GEO-05",
                "warning",
                f"{len(doubled)} places hold more than one image, the first {names[0]!r} and {names[1]!r}; "
                "copies with equal pixels are dropped, others refused.",
            )
        )
    if n == 1:
        step, found = _single(shelves[0][0])
        return Layout(_freeze(shelves), distances, step, directions[0], directions, spacing, (*problems, *found))
    positions = np.array([shelf[0].place for shelf in shelves])
    extent = distances[-1] - distances[0]
    lean = (positions[-1] - positions[0]) / extent
    step, found = _spacing(shelves, distances)
    problems.extend(found)
    layout = Layout(_freeze(shelves), distances, step, lean, directions, spacing, ())
    beside = [
        frame for shelf in shelves for frame in shelf if np.linalg.norm(frame.place - shelf[0].place) > _even(step)
    ]
    if beside:
        problems.append(
            error(
                "E-GEO-10",
                f"{beside[0].label!r} lies beside another image of the same height.",
                "Choose a series that is one stack.",
            )
        )
    sideways = positions - positions[0] - np.outer(distances - distances[0], lean)
    worst = int(np.argmax(np.linalg.norm(sideways, axis=1)))
    if np.linalg.norm(sideways[worst]) > _even(min(step, *spacing)):
        problems.append(
            error(
                "E-GEO-10",
                f"{shelves[worst][0].label!r} is shifted sideways by {np.linalg.norm(sideways[worst]):.3f} mm "
                "against the line through its neighbours.",
                "Choose a series whose planes are stacked on a line.",
            )
        )
    elif layout.tilt_degrees > MAX_TILT_DEGREES:
        problems.append(
            error(
                "E-GEO-10",
                f"The stack leans by {layout.tilt_degrees:.1f} degrees, more than any gantry.",
                "Choose a series whose planes are stacked on a line.",
            )
        )
    elif layout.tilted:
        problems.append(
            error(
                "E-GEO-03",
                f"The slices are sheared by {layout.tilt_degrees:.2f} degrees (gantry tilt).",
                "Give --untilt to shift every slice in its plane onto an upright grid.",
            )
        )
    return Layout(layout.shelves, distances, step, lean, directions, spacing, tuple(problems))


def _even(distance: float) -> float:
    """Deviation in mm that counts as rounding where ``distance`` is the spacing."""
    return max(EVEN_FLOOR_MM, EVEN_FRACTION * distance)


def _freeze(shelves: list[list[Frame]]) -> tuple[tuple[Frame, ...], ...]:
    return tuple(tuple(shelf) for shelf in shelves)


def _single(frame: Frame) -> tuple[float, list[Problem]]:
    step = frame.between or frame.thickness
    if step is not None:
        return step, [remark("E-GEO-14", "note", f"A single slice; its spacing is the stated thickness, {step:g} mm.")]
    return 1.0, [
        remark("E-GEO-14", "warning", "A single slice of unstated thickness; 1 mm stands in its geometry.", "Check it.")
    ]


def _spacing(shelves: list[list[Frame]], distances: Vector) -> tuple[float, list[Problem]]:
    n = len(shelves)
    gaps = np.diff(distances)
    mean = float((distances[-1] - distances[0]) / (n - 1))
    uneven = float(np.abs(distances - distances[0] - mean * np.arange(n)).max())
    tolerance = _even(float(np.median(gaps)))
    if uneven <= tolerance:
        if n == 2 and not _confirmed(shelves, mean):
            return mean, [
                error(
                    "E-GEO-12",
                    f"There are two slices, {shelves[0][0].label!r} and {shelves[1][0].label!r}, and no stated "
                    f"spacing that confirms their distance of {mean:.3f} mm.",
                    "Add the other slices, or give --allow-gaps resample to take the distance as it is.",
                )
            ]
        if uneven > NOTE_MM:
            return mean, [
                remark("E-GEO-13", "note", f"Slice positions deviate by up to {uneven:.4f} mm from an even spacing.")
            ]
        return mean, []
    step = regular_step(gaps)
    ratios = gaps / step
    worst = int(np.argmax(gaps))
    a, b = shelves[worst][0].label, shelves[worst + 1][0].label
    if np.abs(ratios - np.round(ratios)).max() <= max(tolerance / step, EVEN_FRACTION):
        missing = int(np.round(ratios).sum()) - len(gaps)
        return step, [
            error(
                "E-GEO-01",
                f"{missing} slice(s) missing, first or widest between {a!r} and {b!r}: {gaps[worst]:.3f} mm "
                f"where the others are {step:.3f} mm apart.",
                ALLOW_GAPS,
            )
        ]
    return step, [
        error(
            "E-GEO-02",
            f"The slice spacing varies from {gaps.min():.3f} to {gaps.max():.3f} mm, widest between {a!r} and {b!r}.",
            ALLOW_GAPS,
        )
    ]


def regular_step(gaps: Vector) -> float:
    """The finest spacing in mm that occurs at least twice, else the finest: no slice of a regular part is lost."""
    for gap in np.sort(gaps):
        alike = np.abs(gaps - gap) <= _even(gap)
        if np.count_nonzero(alike) >= 2:
            return float(gaps[alike].mean())
    return float(gaps.min())


def _confirmed(shelves: list[list[Frame]], distance: float) -> bool:
    stated = [value for shelf in shelves for value in (shelf[0].between, shelf[0].thickness) if value is not None]
    return any(abs(value - distance) <= _even(distance) for value in stated)
