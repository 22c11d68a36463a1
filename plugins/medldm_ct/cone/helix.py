"""What a helix measures of a volume: its pitch, its gaps, and how its views are feathered."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medldm.errors import InputRefused
from medldm_ct.cone.geometry import VoxelBox
from medldm_ct.cone.orbit import Orbit

# The outermost share of the rows over which a view fades, so that voxels enter and leave without a step.
_FADING = 0.3
# Of detectors that reach farther to one side, by more than this share of their width, lines are measured unequally.
_ONE_SIDED = 0.05
# A step along the axis of so many usual ones is no step of a helix.
_ODD_STEP = 3.0


def feed_per_turn(orbit: Orbit) -> float:
    """Travel of the source along ``z`` in mm for each turn."""
    angle = max(orbit.angles) - min(orbit.angles)
    return 0.0 if angle == 0 else abs(orbit.heights[-1] - orbit.heights[0]) / angle * 2 * math.pi


def lost_stretch(orbit: Orbit) -> tuple[float, float]:
    """Heights in mm between which views are missing, the widest such stretch; twice the same where none are."""
    heights = torch.tensor(orbit.heights, dtype=torch.float64).sort().values
    steps = heights.diff()
    if len(steps) < 2:
        return 0.0, 0.0
    widest = int(steps.argmax())
    low, high = float(heights[widest]), float(heights[widest + 1])
    return (low, high) if high - low > _ODD_STEP * float(steps.median()) else (low, low)


def largest_feed(orbit: Orbit, radius: float) -> float:
    """The largest feed in mm per turn that measures all of a cylinder of ``radius`` mm.

    Every point needs views over half a turn as seen from itself: the detector must hold the window of Tam and
    Danielsson (1995; 1998), whose height is ``feed D / (2 pi R) (pi / 2 + gamma) / cos(gamma)`` above the source on a
    curved detector, and once more over the cosine on a flat one.
    """
    gamma = math.asin(min(1.0, radius / orbit.source_to_centre))
    power = 1 if orbit.detector.curved else 2
    height = orbit.detector.rows * orbit.detector.row_pitch / 2 - abs(orbit.row_offset)
    window = (math.pi / 2 + gamma) / math.cos(gamma) ** power if gamma < math.pi / 2 else math.inf
    return height * 2 * math.pi * orbit.source_to_centre / orbit.source_to_detector / window


def check_pitch(orbit: Orbit, box: VoxelBox) -> None:
    """Refuse a helix whose turns leave gaps in the image, or that lost views in the middle of it.

    Raises:
        InputRefused: ``E-CT-24``.
    """
    # The circle in the image: what its corners hold is not the object.
    radius = min(box.extent[:2]) / 2
    feed, largest = feed_per_turn(orbit), largest_feed(orbit, radius)
    if feed > largest * (1 + 1e-9):
        raise InputRefused(
            "E-CT-24",
            f"The helix moves by {feed:.2f} mm in each turn; its detector of {orbit.detector.rows} rows covers a "
            f"circle of {radius:.0f} mm up to {largest:.2f} mm.",
            why="There are gaps between the turns: some points are not seen from all sides.",
            fix="Scan with a smaller pitch or more rows, or reconstruct a smaller field of view.",
        )
    low, high = lost_stretch(orbit)
    middle, half = box.centre[2], box.extent[2] / 2
    # In the middle of the stretch the detector must hold what is missing besides half a turn, on either side.
    if feed + 2 * (high - low) > largest * (1 + 1e-9) and low < middle + half and high > middle - half and high > low:
        raise InputRefused(
            "E-CT-24",
            f"The helix has no views from {low:.1f} to {high:.1f} mm along the axis: {high - low:.1f} mm in one step, "
            f"of which its detector bridges {max(0.0, (largest - feed) / 2):.1f} mm.",
            why="Projections were lost: what lies there is not seen from all sides.",
            fix="Copy the scan again, or reconstruct a grid that ends before the gap.",
        )


def one_sided(orbit: Orbit) -> bool:
    """Whether the detector reaches so much farther to one side that lines there are measured from one end only."""
    low, high = (float(edge) for edge in orbit.fan.edges()[[0, -1]])
    return abs(low + high) > _ONE_SIDED * (high - low)


def row_feather(orbit: Orbit) -> Tensor:
    """(row,) float64 weights: one in the middle of the detector, fading as a squared sine to its first and last row."""
    rows = orbit.detector.rows
    place = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows
    to_end = torch.minimum(place, 1 - place) / (_FADING / 2 + 1e-12)
    return (math.pi / 2 * to_end.clamp(max=1)).sin().square()
