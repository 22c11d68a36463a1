"""Line integrals of what an array of projections holds: themselves, a share of the beam, or photons."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem
from medldm_rawdata.projections.measured import DEFAULT_PHOTONS

Content = Literal["line-integrals", "transmission", "counts"]
Values = NDArray[np.float32]


def line_integrals(
    measured: NDArray[np.generic], content: Content, photons: float | None, file: str
) -> tuple[Values, Values | None, tuple[Problem, ...]]:
    """Line integrals of the shape of ``measured``, the photons behind them where those were stored, and warnings.

    Args:
        measured: any shape.
        content: what its values are.
        photons: per bin without an object; None where it is not stated.
        file: for messages.

    Raises:
        InputRefused: E-PRJ-12 when most values are no share of a beam.
    """
    if content == "line-integrals":
        return np.ascontiguousarray(measured, dtype=np.float32), None, ()
    blank = photons if content == "counts" and photons else 1.0
    transmission = np.asarray(measured, dtype=np.float64) / blank
    floor = 1.0 / (photons or DEFAULT_PHOTONS)
    starved = int((transmission <= 0).sum())
    if starved > transmission.size // 2:
        raise InputRefused(
            "E-PRJ-12",
            f"{starved} of {transmission.size} values of {file} are zero or negative.",
            why="There is hardly any beam behind the object, or the values are not what 'content' says.",
            fix="Correct 'content' in the JSON file: line-integrals, transmission or counts.",
        )
    problems: tuple[Problem, ...] = ()
    if starved:
        sentence = f"{starved} of {transmission.size} values are zero or negative."
        problems = (Problem("E-PRJ-12", "warning", sentence, "Their logarithm takes them as one photon."),)
    integrals = -np.log(np.maximum(transmission, floor))
    counts = np.ascontiguousarray(measured, dtype=np.float32) if content == "counts" else None
    return np.ascontiguousarray(integrals, dtype=np.float32), counts, problems
