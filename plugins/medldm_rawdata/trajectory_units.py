"""Units in which programs state where in k-space they measured, and what their numbers say about them.

Whatever the unit, a trajectory ends about where the image does: voxels of d mm show frequencies up to 1/(2 d). Its
largest number therefore tells a wrong unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem

TrajectoryUnit = Literal["1/mm", "1/m", "rad/mm", "rad/m", "cycles/fov", "cycles/voxel", "rad/voxel"]
# Points (sample, 2) as stored, ky and kx -> what makes 1/mm of ky and kx, and what there is to say about it.
Scale = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], tuple[Problem, ...]]]
# Scanners measure to the end of the image's k-space. An image may be stated twice as fine as measured (0.5, zeros
# fill the rest), and corners or a rounded matrix reach a little beyond. Units differ by 2 pi or more, and the confusion
# of an oversampled matrix with that of the image by 2.
LEAST, MOST = 0.4, 1.25


def per_mm(unit: TrajectoryUnit, matrix: Sequence[int], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Factors that turn ky and kx of a unit to 1/mm.

    Args:
        unit: of the trajectory; ``cycles/fov`` are 1 per field of view of the image.
        matrix: of the image (y, x).
        spacing: of the image (y, x) in mm.
    """
    step = np.asarray(spacing, dtype=np.float64)
    one = np.ones(2)
    factors: dict[TrajectoryUnit, NDArray[np.float64]] = {
        "1/mm": one,
        "1/m": one / 1000,
        "rad/mm": one / (2 * math.pi),
        "rad/m": one / (2000 * math.pi),
        "cycles/fov": 1 / (step * np.asarray(matrix)),
        "cycles/voxel": 1 / step,
        "rad/voxel": 1 / (2 * math.pi * step),
    }
    return factors[unit]


def reach(points: NDArray[np.float64], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Largest frequency along y and along x over that of the image, 1/(2 d).

    Args:
        points: (..., 2), ky and kx in 1/mm.
        spacing: of the image (y, x) in mm.
    """
    largest: NDArray[np.float64] = 2 * np.abs(points).reshape(-1, 2).max(axis=0) * np.asarray(spacing)
    return largest


def stated(unit: TrajectoryUnit, matrix: Sequence[int], spacing: Sequence[float], name: str) -> Scale:
    """The scale of a trajectory whose unit is stated; a unit that cannot be is refused under E-KSP-40.

    Args:
        unit: stated.
        matrix: of the image (y, x).
        spacing: of the image (y, x) in mm.
        name: of the file, for the message.
    """

    def scale(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[Problem, ...]]:
        reached = {
            u: float(reach(points * per_mm(u, matrix, spacing), spacing).max()) for u in get_args(TrajectoryUnit)
        }
        if LEAST <= reached[unit] <= MOST:
            return per_mm(unit, matrix, spacing), ()
        fit = [u for u, r in reached.items() if LEAST <= r <= MOST]
        limit = " and ".join(f"{0.5 / d:.4g}" for d in spacing)
        raise InputRefused(
            "E-KSP-40",
            f"The trajectory of {name} in {unit} reaches {reached[unit]:.3g} times as far as the image's k-space.",
            why=f"Voxels of {spacing[0]:.4g} x {spacing[1]:.4g} mm show frequencies up to {limit} 1/mm (ky, kx), and "
            f"its largest number is {np.abs(points).max():.4g}.",
            fix=f'It fits "trajectory_unit": "{" or ".join(fit)}".'
            if fit
            else "Correct trajectory_unit, matrix or spacing_mm; no known unit fits these.",
        )

    return scale
