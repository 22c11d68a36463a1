"""What is wrong with a measured cone-beam scan, before it is reconstructed."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from medldm.errors import InputRefused
from medldm_ct.cone.orbit import Orbit
from medldm_ct.extrapolation import rows_are_truncated, truncation
from medldm_ct.redundancy import Redundancy

# Two views of one circle are the same within this angle in radians.
_SAME = 1e-6
_log = logging.getLogger("medldm.ct")


def check_views(orbit: Orbit) -> None:
    """Refuse angles and heights that cannot be those of one orbit, and warn of views that repeat one another.

    Raises:
        InputRefused: ``E-CT-26`` when all views stand at one angle; ``E-CT-27`` when the angles of a helix do not go
            on with its heights.
    """
    angles = torch.tensor(orbit.angles, dtype=torch.float64)
    if orbit.helical:
        _check_order(angles, torch.tensor(orbit.heights, dtype=torch.float64))
        return
    turned = angles.remainder(2 * math.pi).sort().values
    repeated = int((turned.diff() < _SAME).sum())
    if orbit.views > 1 and repeated == orbit.views - 1:
        raise InputRefused(
            "E-CT-26",
            f"All {orbit.views} views stand at {math.degrees(float(angles[0])):g} degrees.",
            why="One direction says nothing of the depth of the object.",
            fix="Store the angle of each view.",
        )
    if repeated:
        _log.warning(
            "E-CT-26 %d of %d views repeat the angle of another; each is taken at the angle stated",
            repeated,
            orbit.views,
        )


def _check_order(angles: Tensor, heights: Tensor) -> None:
    centred, lifted = angles - angles.mean(), heights - heights.mean()
    slope = (centred * lifted).sum() / centred.square().sum().clamp(min=1e-30)
    off = float((lifted - slope * centred).abs().max() / (heights.max() - heights.min()))
    if off > 0.05:
        raise InputRefused(
            "E-CT-27",
            f"The heights of the source do not follow its angles: they are off a helix by {off:.0%} of its length.",
            why="Projections are out of order, or the angles begin again with every turn.",
            fix="Store views with their own angle and height, angles going on beyond 360 degrees. A trajectory that is "
            "no helix is stated by its vectors.",
        )


def object_is_truncated(data: Tensor, orbit: Orbit, redundancy: Redundancy | None) -> bool:
    """Whether rows of bins end in the object, said in a warning with how much (``E-CT-25``).

    That columns do, is warned of on a circle.
    """
    along = truncation(data.transpose(-1, -2))
    if along.noticeable and not orbit.helical:
        _log.warning("%s %s Slices beyond its cone are not measured.", "E-CT-25", along.sentence("columns"))
    return rows_are_truncated(data, orbit.fan, redundancy)
