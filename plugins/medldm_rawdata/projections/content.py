"""Line integrals of what an array of projections holds: themselves, a share of the beam, or photons."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem
from medldm_rawdata.projections.measured import DEFAULT_PHOTONS
from medldm_rawdata.projections.saturation import limit_of, saturated

Content = Literal["line-integrals", "transmission", "counts"]
Values = NDArray[np.float32]


def line_integrals(
    measured: NDArray[np.generic], content: Content, photons: float | None, file: str, *, view_axis: int
) -> tuple[Values, Values | None, tuple[Problem, ...]]:
    """Line integrals of the shape of ``measured``, the photons behind them where those were stored, and warnings.

    Args:
        measured: of three axes.
        content: what its values are.
        photons: per bin without an object; None where it is not stated.
        file: for messages.
        view_axis: of ``measured``, whose others are those of the detector.

    Raises:
        InputRefused: E-PRJ-11 when more than a few counts are saturated, E-PRJ-12 when most values are no share of a
            beam.
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
    integrals = np.ascontiguousarray(-np.log(np.maximum(transmission, floor)), dtype=np.float32)
    if content != "counts":
        return integrals, None, problems
    over, more = _saturated(np.moveaxis(measured, view_axis, 0), blank, file)
    counts = np.where(np.moveaxis(over, 0, view_axis), 0, measured).astype(np.float32)
    return integrals, np.ascontiguousarray(counts), (*problems, *more)


def _saturated(counts: NDArray[np.generic], photons: float, file: str) -> tuple[NDArray[np.bool_], tuple[Problem, ...]]:
    """See :func:`saturated`; the open beam is as stated, and more than that is no limit but a wrong statement."""
    open_beam = np.full(counts.shape[1:], max(photons, float(np.max(counts, initial=0))))
    return saturated(counts, open_beam, limit_of(counts.dtype), file)
